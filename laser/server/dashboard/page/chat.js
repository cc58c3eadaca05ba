// The dashboard's chat: asks over POST /v1/chat/completions, and shows thought, probes and answer.

const EXAMPLES = [
  "Tom has 19 books. He buys 33 more. Tom loses 26. He gives 13 to Zoe. How many books are left at the end?",
  "Here is a list: 37, 32, 82, 92, 51. Find the third largest number.",
];

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
  parts.article = el("article", { class: "turn" }, el("h3", { text: question }), details, parts.answer, parts.why);
  $("turns").prepend(parts.article);
  return parts;
}

let followed = false; // whether the page scrolls with the reply: from the question on, until the reader scrolls

/** Scrolls so far that the reply's end is in view, and no further than to its beginning. */
function keepInView({ article }) {
  if (!followed) return;
  const { top, bottom } = article.getBoundingClientRect();
  const by = Math.min(top, bottom - window.innerHeight + 16);
  if (top < 0 || by > 0) window.scrollBy({ top: top < 0 ? top : by });
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
  followed = true;
  keepInView(parts);
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
    keepInView(parts);
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
  keepInView(parts);
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
for (const moved of ["wheel", "touchmove", "pointerdown"]) {
  window.addEventListener(moved, () => { followed = false; }, { passive: true });
}
$("stop").addEventListener("click", () => asking?.abort());
for (const text of EXAMPLES) {
  const button = el("button", { type: "button", text });
  button.addEventListener("click", () => {
    $("question").value = text;
    $("question").focus();
  });
  $("examples").append(button);
}
