// The dashboard's charts: draws the record of the last minutes.

const SHOWN_S = 300; // of the record
const STYLES = ["", "second", "third"]; // of lines, so that colour is not all that tells them apart

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
