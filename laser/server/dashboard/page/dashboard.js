// The dashboard: draws what GET /laser/events tells, and chats over POST /v1/chat/completions.

const SHOWN_S = 300; // of the record
const TRIES_S = [1, 2, 5, 10]; // between tries to connect again
const ROWS = 12; // of those that ended
const STYLES = ["", "second", "third"]; // of lines, so that colour is not all that tells them apart
const KEY = "laser-key"; // in this tab's storage, which ends with the tab
const EXAMPLES = [
  "Tom has 19 books. He buys 33 more. Tom loses 26. He gives 13 to Zoe. How many books are left at the end?",
  "Here is a list: 37, 32, 82, 92, 51. Find the third largest number.",
];

const $ = (id) => document.getElementById(id);

function el(tag, { text, ...attributes } = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value) node.setAttribute(name, value);
  node.append(...(text === undefined ? [] : [text]), ...children);
  return node;
}

// --- numbers in words ------------------------------------------------------------------------------------------------

const digits = (value) => value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);
const seconds = (value) => (value === null ? "–" : `${digits(value)} s`);
const share = (value) => `${Math.round(value * 100)} %`;
const many = (count, one, more = `${one}s`) => `${count} ${count === 1 ? one : more}`;
const threshold = (value) => (value === null ? "never" : value.toFixed(2));
const budget = (value) => (value === null ? "none" : String(value));

function whyEnded({ finish_reason, exit_reason, confidence, threshold: bound, budget: tokens }) {
  if (finish_reason === "error") return "failed";
  if (exit_reason === "confidence") return `sure: ${confidence.toFixed(2)} ≥ ${bound.toFixed(2)}`;
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
  confidence: "were sure", budget: "had spent their budget", natural: "thought to their end", consistency: "had probes that agreed",
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

// --- charts -----------------------------------------------------------------------------------------------------------

function node(tag, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Steps of 1, 2 or 5 times a power of ten, about `count` of them from `low` to `high`. */
function ticks(low, high, count = 5) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((each) => each * power >= rough) ?? 10);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + 1e-9; at++) found.push(Number((at * step).toPrecision(6)));
  return found;
}

/**
 * Draws a figure. `lines`: {values: one for each time, look: CSS classes, steps}; a value of null lies on the lane above
 * the scale that is called `none`, undefined is a gap. `band`: {low, high}. `dots`: {at, value, look}. `says`: in words.
 */
function draw(figure, { times, lines, low = 0, high, none, band, dots = [], says, legend }) {
  let svg = figure.querySelector("svg");
  if (!svg) figure.append((svg = node("svg", { role: "img" })));
  svg.setAttribute("aria-label", says);
  const width = svg.clientWidth || 320;
  const height = svg.clientHeight || 160;
  const box = { left: 38, right: width - 8, top: none ? 26 : 8, bottom: height - 20 };
  const until = times.at(-1);
  const span = Math.min(SHOWN_S, Math.max(60, until - times[0]));
  const x = (at) => box.right - ((until - at) / span) * (box.right - box.left);
  const y = (value) =>
    value === null ? 8 : box.bottom - ((Math.min(value, high) - low) / (high - low)) * (box.bottom - box.top);
  const parts = [];
  const grid = (at, label) => {
    parts.push(node("line", { class: "grid", x1: box.left, x2: box.right, y1: at, y2: at }));
    parts.push(node("text", { x: box.left - 6, y: at + 4, "text-anchor": "end" }, label));
  };
  for (const tick of ticks(low, high)) grid(y(tick), String(tick));
  if (none) grid(y(null), none);
  for (const back of ticks(0, span, width < 420 ? 3 : 5)) {
    const label = back === 0 ? "now" : `−${back} s`;
    parts.push(node("text", { x: x(until - back), y: height - 4, "text-anchor": back === 0 ? "end" : "middle" }, label));
  }
  const inside = times.map((at, i) => [at, i]).filter(([at]) => at >= until - span);
  if (band) {
    const edge = inside.filter(([, i]) => band.low[i] !== undefined);
    const there = edge.map(([at, i]) => `${x(at).toFixed(1)},${y(band.high[i]).toFixed(1)}`);
    const back = edge.map(([at, i]) => `${x(at).toFixed(1)},${y(band.low[i]).toFixed(1)}`).reverse();
    parts.push(node("polygon", { class: "band", points: [...there, ...back].join(" ") }));
  }
  for (const { values, look, steps } of lines) {
    let path = "";
    let pen = "M";
    for (const [at, i] of inside) {
      if (values[i] === undefined) { pen = "M"; continue; }
      const place = [x(at).toFixed(1), y(values[i]).toFixed(1)];
      path += pen === "M" || !steps ? `${pen}${place}` : `H${place[0]}V${place[1]}`;
      pen = "L";
    }
    parts.push(node("path", { class: `line ${look}`, d: path }));
  }
  for (const { at, value, look } of dots) {
    if (at >= until - span) parts.push(node("circle", { class: `dot ${look}`, cx: x(at), cy: y(value), r: 2.5 }));
  }
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(...parts);
  const items = legend.map(({ look, words }) => el("li", { class: look }, el("span", { text: words })));
  figure.querySelector(".legend").replaceChildren(...items);
}

const roof = (values, least) => Math.max(least, ...values.filter((value) => value != null)) * 1.08;

function drawLoad({ history, load }) {
  const times = history.map((point) => point.at_s);
  const counted = history.map((point) => point.counted_rate);
  const rate = history.map((point) => point.rate?.value);
  const high = history.map((point) => point.rate ? point.rate.value + point.rate.sigma : undefined);
  const low = history.map((point) => point.rate ? Math.max(0, point.rate.value - point.rate.sigma) : undefined);
  const held = load.running + load.waiting;
  const now = history.at(-1);
  const estimate = now.rate && `estimate ${digits(now.rate.value)} ± ${digits(now.rate.sigma)}`;
  draw($("load"), {
    times,
    lines: [{ values: counted, look: estimate ? "quiet thin dash" : "any" }, { values: rate, look: "any" }],
    band: { low, high },
    high: roof([...counted, ...high], 1),
    says: `Requests a second: ${estimate ? `${estimate}, ` : ""}counted ${digits(now.counted_rate)}; ${held} in the system.`,
    legend: [
      ...(estimate ? [{ look: "any", words: estimate }] : []),
      { look: estimate ? "quiet dash" : "any", words: `counted ${digits(now.counted_rate)}` },
    ],
  });
}

/** Thresholds or budgets by class. */
function drawLimits(figure, { history }, name, { low, high, none, word }) {
  const classes = Object.keys(history.at(-1).limits);
  const now = classes.map((each) => `${each} ${word(history.at(-1).limits[each][name])}`);
  const look = (i) => `${classes[i]} ${STYLES[i % STYLES.length]}`;
  draw(figure, {
    times: history.map((point) => point.at_s),
    lines: classes.map((each, i) => ({
      values: history.map((point) => point.limits[each]?.[name]), look: look(i), steps: true,
    })),
    low, high, none,
    says: `${figure.querySelector("h3").textContent} now: ${now.join(", ")}.`,
    legend: classes.map((each, i) => ({ look: `${each} ${i ? "dash" : ""}`, words: now[i] })),
  });
}

function drawLatency({ history, ended, latency, slo_s }) {
  const times = history.map((point) => point.at_s);
  const served = ended.filter((each) => each.finish_reason !== "error");
  const classes = ["easy", "medium", "hard", "any"].filter((name) => served.some((each) => (each.difficulty ?? "any") === name));
  draw($("latency"), {
    times,
    lines: Object.entries(slo_s).map(([name, limit]) => ({ values: times.map(() => limit), look: `${name === "any" ? "slo" : name} thin dash` })),
    dots: served.map((each) => ({ at: each.at_s, value: each.total_s, look: each.difficulty ?? "any" })),
    high: roof([...served.map((each) => each.total_s), ...Object.values(slo_s)], 0.1),
    says: `Latency: mean ${seconds(latency.mean_s)}, 95 % below ${seconds(latency.p95_s)}.`,
    legend: [
      ...classes.map((each) => ({ look: `dot ${each}`, words: each === "any" ? "a reply" : each })),
      ...Object.entries(slo_s).map(([name, limit]) =>
        name === "any" ? { look: "slo dash", words: `SLO ${limit} s` } : { look: `${name} dash`, words: `SLO ${limit} s` }),
    ],
  });
}

// --- the rest of the page ----------------------------------------------------------------------------------------------

function sentence({ load, latency, running, controller }) {
  if (!running.length && !latency.requests) return "Nothing runs. Ask something below, or send requests to this server.";
  const thinking = running.filter((each) => each.stage === "thinking").length;
  const held = load.waiting ? `${many(load.waiting, "request waits", "requests wait")}` : "none waits";
  return `${many(thinking, "thought runs", "thoughts run")}, ${held}. ${rule(Object.values(controller.limits))}.`;
}

/** When thoughts are closed. */
function rule(limits) {
  const bounds = limits.map((each) => each.threshold).filter((each) => each !== null).sort();
  if (!bounds.length) {
    if (limits.some((each) => each.agree !== null)) return "Thoughts are closed once their probes agree";
    if (limits.some((each) => each.margin !== null)) return "Thoughts are closed once they are nearly at their end";
    return "Thoughts are not probed now";
  }
  const [low, high] = [bounds[0].toFixed(2), bounds.at(-1).toFixed(2)];
  const sure = low === high ? `${low} sure` : `${low} to ${high} sure, by class`;
  return `Thoughts are closed once they are ${sure}${bounds.length < limits.length ? "; some classes are not probed" : ""}`;
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
    ["Price of 1,000 tokens", price === null ? "–" : (price * 1000).toPrecision(2), price === null ? "this policy knows no price" : "correct answers, now"],
    ["Decided by", controller.rung ?? controller.policy, RUNGS[controller.rung] ?? POLICIES[controller.policy] ?? ""],
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

// --- chat -------------------------------------------------------------------------------------------------------------

let asking = null; // what aborts the running reply

function turn(question) {
  const parts = {
    text: "", // of the answer
    thought: el("div", { class: "thought", tabindex: "0", role: "group", "aria-label": "Thought" }),
    summary: el("summary", { text: "thinking …" }),
    answer: el("p", { class: "answer" }),
    why: el("p", { class: "why" }),
  };
  const details = el("details", { open: "open" }, parts.summary, parts.thought);
  $("turns").prepend(el("article", { class: "turn" }, el("h3", { text: question }), details, parts.answer, parts.why));
  return parts;
}

function probeChip({ answer, confidence, gave_up }) {
  return el("span", { class: "probe", text: `probe: ${answer || "…"} · ${gave_up ? "below " : ""}${confidence.toFixed(2)}` });
}

/** An answer with what is **bold** or \\boxed{} in it shown so; all else as it is written. */
function dressed(text) {
  return text.split(/(\*\*[^*\n]+\*\*|\\boxed\{[^{}]*\})/).map((part) => {
    if (part.startsWith("**") && part.length > 4) return el("strong", { text: part.slice(2, -2) });
    if (part.startsWith("\\boxed{")) return el("span", { class: "boxed", text: part.slice(7, -1) });
    return part;
  });
}

function told(laser) {
  const words = [laser.exit_reason === null ? "Did not think" : `Stopped thinking: ${whyEnded(laser)}`];
  words.push(`${many(laser.reasoning_tokens, "token")}, ${many(laser.probes, "probe")}`);
  return `${words.join(" after ")}; ${seconds(laser.total_ms / 1e3)}.`;
}

async function ask(question) {
  const parts = turn(question);
  const body = { messages: [{ role: "user", content: question }], stream: true, laser: { probes: true } };
  asking = new AbortController();
  $("send").disabled = true;
  $("stop").disabled = false;
  try {
    const options = {
      method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" }, signal: asking.signal,
    };
    for await (const data of events("v1/chat/completions", options)) {
      if (data === "[DONE]") break;
      show(parts, JSON.parse(data));
    }
    $("announcement").textContent = `Answer: ${parts.text}`;
  } catch (error) {
    parts.summary.textContent = "thought";
    parts.why.textContent = error.name === "AbortError" ? "Stopped by you." : `No answer: ${error.message}`;
    $("announcement").textContent = parts.why.textContent;
  }
  asking = null;
  $("send").disabled = false;
  $("stop").disabled = true;
}

function show(parts, chunk) {
  if (chunk.error) throw new Error(chunk.error.message);
  const { delta = {}, finish_reason } = chunk.choices[0] ?? {};
  const { thought } = parts;
  const atEnd = thought.scrollHeight - thought.scrollTop - thought.clientHeight < 30;
  if (delta.reasoning) thought.append(delta.reasoning);
  if (delta.content) parts.answer.replaceChildren(...dressed((parts.text += delta.content)));
  if (chunk.laser?.probe) thought.append(probeChip(chunk.laser.probe));
  if (atEnd) thought.scrollTop = thought.scrollHeight;
  if (finish_reason) {
    const { laser } = chunk;
    parts.summary.textContent = `thought, ${many(laser.reasoning_tokens, "token")}`;
    parts.why.textContent = told(laser);
    if (laser.exit_reason === "confidence") [...thought.querySelectorAll(".probe")].at(-1)?.classList.add("sure");
  }
}

// --- controls ---------------------------------------------------------------------------------------------------------

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = $("question").value.trim();
  if (!question || asking) return;
  $("question").value = "";
  ask(question);
});
$("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("ask").requestSubmit();
  }
});
$("stop").addEventListener("click", () => asking?.abort());
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
for (const text of EXAMPLES) {
  const button = el("button", { type: "button", text });
  button.addEventListener("click", () => {
    $("question").value = text;
    $("question").focus();
  });
  $("examples").append(button);
}
new ResizeObserver(() => render()).observe($("charts"));
follow();
