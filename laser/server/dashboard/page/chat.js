// The dashboard's chat: keeps a conversation over POST /v1/chat/completions, and shows thought, probes, tool calls and answer.

const EXAMPLES = [
  "Tom has 19 books. Tom buys 33 more. Tom loses 24. How many books does Tom have at the end?",
  "The points of each are the last two digits of a sum: Tom 37 + 33, Zoe 49 + 27, Ben 12 + 72, Mia 98 + 54, Kim 83 + 97. Who has the most points?",
];
const PATIENCE_MS = 300; // that Markdown may take to be laid out; a text for which it takes longer stays as it is written
const REST = 8; // times that it took, between two layouts of an answer that grows

const markdown = import("./markdown.js").then(({ rendered }) => rendered, () => (text) => [text]);

const turns = []; // of the conversation, oldest first: what was said, the reply so far, and its place on the page
let asking = null; // what aborts the running reply

// --- the conversation -------------------------------------------------------------------------------------------------

const givesResults = ({ said }) => said[0].role === "tool";

/** The messages of a turn before `next`; none if it has no reply. Calls without results are left out. */
function messagesOf({ said, reply: { content, thought, calls } }, next) {
  const called = givesResults(next) ? calls : [];
  if (content === "" && !called.length) return [];
  const message = { role: "assistant", content };
  if (thought) message.reasoning_content = thought;
  if (called.length) {
    message.tool_calls = called.map(({ id, name, text }) => ({ id, type: "function", function: { name, arguments: text } }));
  }
  return [...said, message];
}

/** What a turn is asked with: the options, the turns before it that have a reply, and what it says. */
function bodyOf(turn) {
  const kept = $("keep").checked || givesResults(turn) ? turns.slice(0, turns.indexOf(turn) + 1) : [turn];
  const messages = [...kept.slice(0, -1).flatMap((each, at) => messagesOf(each, kept[at + 1])), ...turn.said];
  const [system, tools] = [$("system").value.trim(), $("tools").value.trim()];
  if (system) messages.unshift({ role: "system", content: system });
  return { messages, stream: true, laser: { probes: true, progress: true }, ...(tools ? { tools: JSON.parse(tools) } : {}) };
}

/** Says something and shows the reply; `title`: what was said, for the reader. */
async function ask(said, title) {
  const turn = { said, title, reply: { content: "", thought: "", calls: [] }, parts: partsOf(title) };
  turns.push(turn);
  for (const { parts } of turns.slice(0, -1)) settle(parts);
  followed = true;
  keepInView(turn.parts);
  asking = new AbortController();
  busy(true);
  try {
    const options = {
      method: "POST", body: JSON.stringify(bodyOf(turn)), headers: { "content-type": "application/json" }, signal: asking.signal,
    };
    for await (const data of events("v1/chat/completions", options)) {
      if (data === "[DONE]") break;
      show(turn, JSON.parse(data));
    }
    if (turn.reply.calls.length) askForResults(turn);
    $("announcement").textContent = turn.reply.calls.length ? `${turn.reply.calls[0].name} is called.` : `Answer: ${turn.reply.content}`;
  } catch (error) {
    turn.reply.calls.length = 0; // they may be incomplete
    turn.parts.summary.textContent = "thought";
    turn.parts.why.textContent = error.name === "AbortError" ? "Stopped by you." : `No answer: ${error.message}`;
    $("announcement").textContent = turn.parts.why.textContent;
  }
  turn.parts.details.hidden = turn.reply.thought === "";
  await turn.parts.write(true);
  asking = null;
  busy(false);
  keepInView(turn.parts);
}

/** Asks the last turn again, in its place. */
function again() {
  const turn = turns.pop();
  turn.parts.article.remove();
  ask(turn.said, turn.title);
}

function begin() {
  asking?.abort();
  turns.length = 0;
  $("turns").replaceChildren();
  $("announcement").textContent = "A new chat.";
  busy(asking !== null);
  $("question").focus();
}

/** Shows what can be done now. */
function busy(running) {
  $("send").disabled = running;
  $("stop").disabled = !running;
  $("retry").disabled = running || !turns.length;
  $("new").disabled = !turns.length;
  for (const button of $("turns").querySelectorAll(".results button")) button.disabled = running;
}

// --- a turn on the page -----------------------------------------------------------------------------------------------

let followed = false; // whether the page scrolls with the reply: from the question on, until the reader scrolls

/** Scrolls so far that the reply's end is in view, and no further than to its beginning. */
function keepInView({ article }) {
  if (!followed) return;
  const { top, bottom } = article.getBoundingClientRect();
  const by = Math.min(top, bottom - window.innerHeight + 16);
  if (top < 0 || by > 0) window.scrollBy({ top: top < 0 ? top : by });
}

function partsOf(title) {
  const parts = {
    thought: el("div", { class: "thought", tabindex: "0", role: "group", "aria-label": "Thought" }),
    summary: el("summary", { text: "sent …" }),
    calls: el("div", { class: "calls" }),
    answer: el("div", { class: "answer" }),
    why: el("p", { class: "why" }),
  };
  parts.details = el("details", { open: "open" }, parts.summary, parts.thought);
  parts.article = el("article", { class: "turn" }, el("h3", { text: title }), parts.details, parts.answer, parts.calls, parts.why);
  parts.write = writer(parts.answer, () => keepInView(parts));
  $("turns").append(parts.article);
  return parts;
}

/** Folds the thought of a turn that is over, and takes the forms for its calls' results away. */
function settle({ details, calls }) {
  details.open = false;
  calls.querySelector(".results")?.remove();
}

/** Returns what lays an answer out as it grows: soon, or with `whole` at once. `laid` is called each time. */
function writer(answer, laid) {
  let [text, next, slow, waiting] = ["", 0, false, false];
  const lay = async () => {
    const rendered = await markdown;
    const began = performance.now();
    let made = [text];
    try {
      if (!slow) made = rendered(text);
    } catch {
      slow = true; // nested too deeply
    }
    slow ||= performance.now() - began > PATIENCE_MS;
    answer.classList.toggle("written", slow);
    answer.replaceChildren(...(slow ? [text] : made));
    next = performance.now() + REST * (performance.now() - began);
    laid();
  };
  return async (whole, more = "") => {
    text += more;
    if (whole) return lay();
    if (!more || waiting) return undefined;
    waiting = true;
    await new Promise((wake) => setTimeout(wake, Math.max(0, next - performance.now())));
    waiting = false;
    return lay();
  };
}

function probeChip({ answer, confidence, gave_up }) {
  return el("span", { class: "probe", text: `probe: ${answer || "…"} · ${gave_up ? "below " : ""}${confidence.toFixed(2)}` });
}

function told(laser) {
  const thought = laser.exit_reason !== null && laser.exit_reason !== "plain";
  const words = [thought ? `Stopped thinking: ${whyEnded(laser)}` : "Did not think"];
  if (thought) words.push(`${many(laser.reasoning_tokens, "token")}, ${many(laser.probes, "probe")}`);
  return `${words.join(" after ")}; ${seconds(laser.total_ms / 1e3)}.`;
}

/** How far a request is, in words. */
function stageWords({ stage, position, eta_s, thought_tokens, budget: most }) {
  if (stage === "waiting") return `waits: place ${position} in the queue, begins in about ${seconds(eta_s)} …`;
  if (stage === "started") return "reads the prompt …";
  if (stage === "thinking") return `thinking, ${most === null ? many(thought_tokens, "token") : `${thought_tokens} of ${most} tokens`} …`;
  return thought_tokens ? `thought, ${many(thought_tokens, "token")}` : "answers …";
}

function show(turn, chunk) {
  if (chunk.error) throw new Error(chunk.error.message);
  const { delta = {}, finish_reason } = chunk.choices[0] ?? {};
  const { parts: { thought, summary, calls, why, write }, reply } = turn;
  const atEnd = thought.scrollHeight - thought.scrollTop - thought.clientHeight < 30;
  if (delta.reasoning) {
    reply.thought += delta.reasoning;
    thought.append(delta.reasoning);
  }
  if (delta.content) {
    reply.content += delta.content;
    write(false, delta.content);
  }
  for (const call of delta.tool_calls ?? []) addCall(reply.calls, call, calls);
  if (chunk.laser?.probe) thought.append(probeChip(chunk.laser.probe));
  if (chunk.laser?.progress) summary.textContent = stageWords(chunk.laser.progress);
  if (atEnd) thought.scrollTop = thought.scrollHeight;
  if (finish_reason) {
    const { laser } = chunk;
    summary.textContent = `thought, ${many(laser.reasoning_tokens, "token")}`;
    why.textContent = told(laser) + (finish_reason === "length" ? " Cut off at the token limit." : "");
    if (laser.exit_reason === "confidence") [...thought.querySelectorAll(".probe")].at(-1)?.classList.add("sure");
  }
  keepInView(turn.parts);
}

// --- tool calls -------------------------------------------------------------------------------------------------------

/** Adds a piece of a tool call, whose name comes first and whose arguments come bit by bit. */
function addCall(calls, { index = 0, id, function: { name, arguments: more = "" } = {} }, place) {
  if (!calls[index]) {
    const shown = { name: el("code"), text: el("pre", { tabindex: "0", role: "group", "aria-label": "Arguments" }) };
    calls[index] = { id: "", name: "", text: "", shown };
    place.append(el("div", { class: "call" }, el("p", {}, "calls ", shown.name), shown.text));
  }
  const call = calls[index];
  call.id ||= id ?? "";
  call.name += name ?? "";
  call.text += more;
  call.shown.name.textContent = call.name;
  call.shown.text.textContent = laidOut(call.text);
}

/** JSON over several lines; a text that is none, or none yet, as it is. */
function laidOut(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 1);
  } catch {
    return text;
  }
}

/** Shows where the results of a turn's calls are to be put: nothing is run here. */
function askForResults({ reply, parts }) {
  const fields = reply.calls.map(({ id, name }) => ({ id, name, field: el("textarea", { rows: "2", required: "required" }) }));
  const form = el("form", { class: "results" },
    ...fields.map(({ name, field }) => el("label", { text: `What ${name} returns` }, field)),
    el("div", { class: "row" }, el("button", { type: "submit", text: "Send the results" })));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (asking) return;
    const said = fields.map(({ id, field }) => ({ role: "tool", tool_call_id: id, content: field.value }));
    ask(said, fields.map(({ name, field }) => `${name} returned: ${field.value}`).join("\n"));
  });
  parts.calls.append(form);
  fields[0].field.focus({ preventScroll: true });
}

// --- controls ---------------------------------------------------------------------------------------------------------

/** What is wrong with the tools that were entered; "": nothing. */
function toolsFault() {
  const text = $("tools").value.trim();
  try {
    return !text || Array.isArray(JSON.parse(text)) ? "" : "The tools must be a JSON list, as in OpenAI’s API.";
  } catch (error) {
    return `The tools are no JSON: ${error.message}`;
  }
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = $("question").value.trim();
  if (!question || asking) return;
  const fault = toolsFault();
  $("tools").setCustomValidity(fault);
  $("options").open ||= fault !== "";
  if (fault) {
    $("tools").reportValidity();
    return;
  }
  $("question").value = "";
  ask([{ role: "user", content: question }], question);
});
$("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("ask").requestSubmit();
  }
});
$("tools").addEventListener("input", () => $("tools").setCustomValidity(""));
$("chat").addEventListener("keydown", (event) => {
  if (event.key === "Escape") asking?.abort();
});
for (const moved of ["wheel", "touchmove", "pointerdown"]) {
  window.addEventListener(moved, () => { followed = false; }, { passive: true });
}
$("stop").addEventListener("click", () => {
  asking?.abort();
  $("question").focus({ preventScroll: true });
});
$("retry").addEventListener("click", again);
$("new").addEventListener("click", begin);
for (const text of EXAMPLES) {
  const button = el("button", { type: "button", text });
  button.addEventListener("click", () => {
    $("question").value = text;
    $("question").focus();
  });
  $("examples").append(button);
}
