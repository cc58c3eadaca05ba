// The dashboard: follows GET /laser/events, and shows what they tell. routes.py serves charts.js and chat.js behind this
// file, as one script: all three share their names, and nothing awaited here goes on before the last of them has run.

const TRIES_S = [1, 2, 5, 10]; // between tries to connect again
const ROWS = 12; // of those that ended
const KEY = "laser-key"; // in this tab's storage, which ends with the tab

const $ = (id) => document.getElementById(id);

function el(tag, { text, ...attributes } = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value) node.setAttribute(name, value);
  node.append(...(text === undefined ? [] : [text]), ...children);
  return node;
}

// --- numbers in words ------------------------------------------------------------------------------------------------

const digits = (value) => value.toFixed(Math.abs(value) < 10 ? 2 : Math.abs(value) < 100 ? 1 : 0);
const amount = (value) => Number(Math.abs(value) < 100 ? value.toFixed(0) : value.toPrecision(3)).toLocaleString("en");
const seconds = (value) => (value === null ? "–" : `${digits(value)} s`);
const share = (value) => `${Math.round(value * 100)} %`;
const many = (count, one, more = `${one}s`) => `${count} ${count === 1 ? one : more}`;
const threshold = (value) => (value === null ? "never" : value.toFixed(2));
const budget = (value) => (value === null ? "none" : String(value));

function whyEnded({ finish_reason, exit_reason, confidence, threshold: bound, budget: tokens }) {
  if (finish_reason === "error") return "failed";
  if (exit_reason === "confidence") return `sure: ${confidence.toFixed(2)} ≥ ${bound.toFixed(2)}`;
  if (exit_reason === "hopeless") return `given up: ${confidence.toFixed(2)} sure`;
  if (exit_reason === "price") return `not worth more tokens: ${confidence.toFixed(2)} sure`;
  if (exit_reason === "skipped") return "needed no thought";
  if (exit_reason === "budget") return `its budget of ${tokens} was spent`;
  if (exit_reason === "natural") return "thought to its end";
  if (exit_reason === "consistency") return "its probes agreed";
  if (exit_reason === "margin") return "nearly at its end";
  if (exit_reason === "deadline") return "its time was up";
  if (exit_reason === "loop") return "it went round in circles";
  if (exit_reason === "requested") return "ended on request";
  return exit_reason ?? (finish_reason === "length" ? "cut off at max_tokens" : "did not think");
}

const EXITS = {
  confidence: "were sure", hopeless: "were given up", skipped: "needed none", price: "were worth no more tokens", budget: "had spent their budget", natural: "thought to their end", consistency: "had probes that agreed",
  margin: "were nearly at their end", deadline: "ran out of time", loop: "went round in circles", requested: "were ended on request",
};
const POLICIES = {
  fixed: "fixed limits", budget: "a fixed budget", none: "thoughts end by themselves", paper: "rule: threshold by load",
};
const RUNGS = {
  "policy map": "solved for the load",
  "price bisection": "stands in: no recent policy map",
  "safe point": "stands in: cheapest certified points",
};

// --- the server -------------------------------------------------------------------------------------------------------

function headers(more = {}) {
  const key = sessionStorage.getItem(KEY);
  return key ? { ...more, authorization: `Bearer ${key}` } : more;
}

/** The data of a stream of server-sent events; throws what went wrong, in words. */
async function* events(path, options = {}) {
  const response = await fetch(path, { ...options, headers: headers(options.headers) });
  if (response.status === 401) askForKey();
  if (!response.ok) {
    const body = await response.json().catch(() => ({}));
    throw new Error(body.error?.message ?? `the server answered ${response.status}`);
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) if (part.startsWith("data: ")) yield part.slice(6);
  }
}

let useKey = null; // what goes on once there is a new key; null: none is wanted

/** Shows where a key is to be put, and why; `events` are asked for again once there is one. */
function askForKey() {
  const known = sessionStorage.getItem(KEY) !== null;
  $("key-note").textContent = known
    ? "The server does not take this key. Enter another, or ask whoever runs the server for one."
    : "This server answers only those who have a key. Enter one, or ask whoever runs the server for one.";
  $("forget").hidden = true;
  if (!$("key").hidden) return;
  $("key").hidden = false;
  $("key-text").focus();
  if (seen === null) $("sentence").textContent = "What the server does is shown once you have entered a key.";
}

function keyGiven() {
  $("key").hidden = true;
  $("forget").hidden = sessionStorage.getItem(KEY) === null;
  useKey?.();
}

/** What is known: the last status, with the history and the ended requests of all of them. */
let seen = null;

function take(status, first) {
  if (seen === null) $("keep").checked = !status.knows; // the bundled model has learnt chats of two questions at most
  const oldest = status.at_s - status.window_s;
  const kept = (before, news) => [...(first ? [] : before), ...news].filter((each) => each.at_s >= oldest);
  status.history = kept(seen?.history, status.history);
  status.ended = kept(seen?.ended, status.ended);
  seen = status;
}

async function follow() {
  for (let tries = 0; ; tries++) {
    try {
      let first = true;
      for await (const data of events("laser/events")) {
        take(JSON.parse(data), first);
        first = false;
        tries = 0;
        connection("live");
        if ($("pause").getAttribute("aria-pressed") === "false") render();
      }
    } catch (error) {
      if (error instanceof SyntaxError || error instanceof ReferenceError) throw error;
    }
    if ($("key").hidden) {
      connection("lost");
      await new Promise((wake) => setTimeout(wake, 1000 * TRIES_S[Math.min(tries, TRIES_S.length - 1)]));
    } else {
      connection("locked");
      await new Promise((wake) => { useKey = wake; });
      tries = -1;
    }
  }
}

function connection(state) {
  const words = { live: "live", lost: "no connection, trying again", locked: "needs a key" }[state];
  if ($("connection").textContent !== words) $("connection").textContent = words; // said aloud: only if it is new
  $("connection").className = `pill ${state}`;
}

// --- the rest of the page ----------------------------------------------------------------------------------------------

function sentence({ load, latency, running, controller }) {
  if (!running.length && !latency.requests) return "Nothing runs. Ask something below, or send requests to this server.";
  const thinking = running.filter((each) => each.stage === "thinking").length;
  const held = load.waiting ? `${many(load.waiting, "request waits", "requests wait")}` : "none waits";
  return `${many(thinking, "thought runs", "thoughts run")}, ${held}. ${rule(Object.values(controller.limits))}.`;
}

/** What was saved, one line against each other way of serving. */
function gainedLines(gained) {
  if (!gained) return [];
  const ways = [["full thought", gained.full_thought]];
  if (gained.fixed) ways.push([`a fixed threshold of ${threshold(gained.fixed_threshold)}`, gained.fixed]);
  const counted = many(gained.replies, "reply", "replies");
  return ways.map(([way, saved]) => {
    const tokens = `${amount(saved.tokens_low)} to ${amount(saved.tokens_high)}`;
    const decoding = `${digits(saved.seconds_low)} to ${digits(saved.seconds_high)}`;
    return `Estimated over ${counted}, against ${way}: ${amount(saved.tokens)} tokens saved, ${share(saved.share)} `
      + `(${share(gained.level)} sure: ${tokens} tokens), and ${digits(saved.seconds)} s of decoding (${decoding} s).`;
  });
}

/** When thoughts are closed, and whether some prompts get none. */
function rule(limits) {
  return `${closing(limits)}${limits.some((each) => each.skip) ? "; prompts that need none are answered at once" : ""}`;
}

function closing(limits) {
  const bounds = limits.map((each) => each.threshold).filter((each) => each !== null).sort();
  const race = limits.some((each) => each.width > 1) ? "; several thoughts of a prompt race while places are idle" : "";
  if (!bounds.length) {
    if (limits.some((each) => each.agree !== null)) return "Thoughts are closed once their probes agree";
    if (limits.some((each) => each.margin !== null)) return "Thoughts are closed once they are nearly at their end";
    const names = [...new Set(limits.flatMap((each) => Object.keys(each.exits ?? {})))].sort();
    if (names.length) return `Thoughts are closed once ${names.join(" or ")} says so`;
    if (limits.some((each) => each.index)) return "Thoughts are closed once more of them is not worth its tokens";
    return `Thoughts are not probed now${race}`;
  }
  const [low, high] = [bounds[0].toFixed(2), bounds.at(-1).toFixed(2)];
  const sure = low === high ? `${low} sure` : `${low} to ${high} sure, by class`;
  const hopeless = limits.some((each) => each.give_up) ? "; hopeless ones are given up" : "";
  return `Thoughts are closed once they are ${sure}${bounds.length < limits.length ? "; some classes are not probed" : ""}${hopeless}${race}`;
}

/** How each class kept its SLO. */
function kept({ slo }) {
  return Object.entries(slo).map(([name, { slo_s, within, requests }]) =>
    `${name === "any" ? "" : `${name} `}${share(within)} of ${requests} in ${slo_s} s`).join(", ");
}

/** Who is in the system, and how long the queue is. */
function queue({ load, drain_s, turned_away }) {
  const words = [`${load.running} decoded, ${load.waiting} waiting`];
  if (load.waiting) words.push(`the last begins in ${seconds(drain_s)}`);
  if (turned_away) words.push(`${turned_away} turned away`);
  return words.join("; ");
}

function account({ charged, risk, left, most, price }) {
  const words = `charged on average; allowed: ${(100 * risk).toPrecision(3)} %. ${digits(left)} of at most ${digits(most)} saved; price ${price.toPrecision(2)}`;
  return ["Risk", `${(100 * charged).toFixed(2)} %`, words];
}

function tiles(status) {
  const { controller, history, load, latency, slo_s, window_s } = status;
  const now = history.at(-1);
  const price = controller.prices?.token_now ?? null;
  const minutes = `last ${Math.round(window_s / 60)} min`;
  return [
    now.rate
      ? ["Arrivals", `${digits(now.rate.value)} ± ${digits(now.rate.sigma)} /s`, `estimate; counted ${digits(now.counted_rate)}`]
      : ["Arrivals", `${digits(now.counted_rate)} /s`, "counted; this policy estimates nothing"],
    ["In the system", String(load.running + load.waiting), queue(status)],
    ["Mean latency", seconds(latency.mean_s), `95 % below ${seconds(latency.p95_s)}; ${minutes}`],
    !Object.keys(slo_s).length
      ? ["Within SLO", "–", "none is set: --slo-s, or the controller’s slo_s"]
      : ["Within SLO", latency.within_slo === null ? "–" : share(latency.within_slo), `${kept(latency)}${latency.within_slo === null ? "" : "; "}${minutes}`],
    ["Shadow price", price === null ? "–" : (price * 1000).toPrecision(2), price === null ? "this policy knows no price" : "answers per 1,000 tokens"],
    ["Decided by", controller.rung ?? controller.policy, RUNGS[controller.rung] ?? POLICIES[controller.policy] ?? ""],
    ...(controller.risk ? [account(controller.risk)] : []),
  ];
}

const percent = (value) => `${Math.min(100, Math.max(0, value * 100)).toFixed(1)}%`;

function bar(filled, mark) {
  const made = el("span", { class: "bar", "aria-hidden": "true" }, el("i"));
  made.firstChild.style.width = percent(filled);
  if (mark != null && mark <= 1) {
    made.append(el("b"));
    made.lastChild.style.left = percent(mark);
  }
  return made;
}

function runningRow(each) {
  const limit = each.budget === null ? "" : ` / ${each.budget}`;
  const cells = [
    el("td", { text: String(each.number) }),
    el("td", { class: each.difficulty ?? "", text: each.difficulty ?? "–" }),
    el("td", { class: "wide", text: each.stage }),
    el("td", {}, bar(each.budget ? each.thought_tokens / each.budget : 0), `${each.thought_tokens}${limit}`),
    each.confidence === null
      ? el("td", { class: "quiet", text: each.stage === "waiting" ? "waits" : each.probing ? "not asked yet" : "not probed" })
      : el("td", {}, bar(each.confidence, each.threshold), `${each.confidence.toFixed(2)}, ${threshold(each.threshold)}`),
    el("td", { class: "wide", text: seconds(each.age_s) }),
  ];
  return el("tr", {}, ...cells);
}

function endedRow(each) {
  const cells = [
    el("td", { text: String(each.number) }),
    el("td", { class: each.difficulty ?? "", text: each.difficulty ?? "–" }),
    el("td", { text: whyEnded(each) }),
    el("td", { text: String(each.thought_tokens) }),
    el("td", { class: "wide", text: String(each.probes) }),
    el("td", { text: seconds(each.total_s) }),
  ];
  return el("tr", {}, ...cells);
}

function fill(table, rows, otherwise) {
  const columns = table.tHead.rows[0].cells.length;
  const nothing = () => el("tr", {}, el("td", { class: "quiet", colspan: columns, text: otherwise }));
  table.tBodies[0].replaceChildren(...(rows.length ? rows : [nothing()]));
}

function render() {
  const status = seen;
  if (status === null || !status.history.length) return;
  const { controller, load, latency } = status;
  $("model").textContent = status.model;
  $("policy").textContent = `policy: ${controller.policy}`;
  $("note").textContent = controller.note ? `Why the policy is ${controller.policy}: ${controller.note}.` : "";
  $("sentence").textContent = sentence(status);
  $("gained").replaceChildren(...gainedLines(status.gained).map((text) => el("li", { text })));
  $("knows").textContent = status.knows ?? "";
  const problems = [...$("problems").children].map((each) => each.textContent);
  if (problems.join("\n") !== status.problems.join("\n")) {
    $("problems").replaceChildren(...status.problems.map((text) => el("li", { text })));
  }
  $("tiles").replaceChildren(...tiles(status).map(([name, value, more]) =>
    el("div", {}, el("dt", { text: name }), el("dd", { text: value }), el("dd", { text: more }))));

  drawLoad(status);
  drawLatency(status);
  const limits = status.history.flatMap((point) => Object.values(point.limits));
  const certified = controller.certified ?? {};
  const lowest = Math.min(0.9, ...limits.map((each) => each.threshold ?? 1), certified.lowest_threshold ?? 1);
  const low = Math.max(0, Math.floor(lowest * 10 - 0.5) / 10);
  drawLimits($("threshold"), status, "threshold", { low, high: 1, none: "never", word: threshold });
  const most = roof(limits.map((each) => each.budget), 100);
  drawLimits($("budget"), status, "budget", { low: 0, high: most, none: "none", word: budget });

  const cache = load.cells_total ? share(load.cells_reserved / load.cells_total) : "–";
  $("engine").textContent = `${load.running} decoded, ${many(load.probing, "probe")} beside, ${load.waiting} waiting; ${cache} of the cache reserved.`;
  fill($("running"), status.running.map(runningRow), "Nothing runs.");
  const exits = Object.entries(latency.exits).map(([name, count]) => `${count} ${EXITS[name] ?? name}`);
  if (latency.failed) exits.push(`${latency.failed} failed`);
  $("exits").textContent = exits.length ? `Last ${Math.round(status.window_s / 60)} minutes: ${exits.join(", ")}.` : "";
  fill($("ended"), status.ended.slice(-ROWS).reverse().map(endedRow), "Nothing has ended yet.");
}

// --- controls ---------------------------------------------------------------------------------------------------------

$("pause").addEventListener("click", ({ currentTarget }) => {
  const paused = currentTarget.getAttribute("aria-pressed") === "false";
  currentTarget.setAttribute("aria-pressed", String(paused));
  if (!paused) render();
});
$("key").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = $("key-text").value.trim();
  if (!/^[!-~]+$/.test(key)) {
    $("key-note").textContent = "A key has letters, digits and signs of ASCII only, and no spaces.";
    return;
  }
  $("key-text").value = "";
  sessionStorage.setItem(KEY, key);
  keyGiven();
});
$("forget").addEventListener("click", () => {
  sessionStorage.removeItem(KEY);
  location.reload();
});
$("forget").hidden = sessionStorage.getItem(KEY) === null;
new ResizeObserver(() => render()).observe($("charts"));
follow();
