// Markdown and mathematics as nodes of the page. marked reads the text, Temml turns TeX into MathML; the elements are made
// here, and only those that are named here. No text is ever read as HTML, and nothing is fetched.

import { Marked } from "./marked.js";
import temml from "./temml.js";

const LONGEST = 4000; // characters of a formula
const LINKS = ["http:", "https:", "mailto:"];
const TEMML = { throwOnError: true, trust: false, maxExpand: 500, maxSize: [20, 200] };

// --- formulas in the text ---------------------------------------------------------------------------------------------

/** A formula's token; `display`: on a line of its own. */
const formula = (raw, tex, display) => ({ type: "formula", raw, tex: tex.trim(), display });

/** The length of a text's first group in braces, which begins at `from`; 0: it does not end. */
function group(text, from) {
  let depth = 0;
  for (let at = from; at < Math.min(text.length, from + LONGEST); at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === "{") depth++;
    else if (text[at] === "}" && --depth === 0) return at + 1 - from;
  }
  return 0;
}

const BETWEEN = [ // what a text may begin with: a formula in one of these pairs; `display`
  [new RegExp(`^\\$\\$([^]{1,${LONGEST}}?)\\$\\$`), true],
  [new RegExp(`^\\\\\\[([^]{1,${LONGEST}}?)\\\\\\]`), true],
  [new RegExp(`^\\\\\\(([^]{1,${LONGEST}}?)\\\\\\)`), false],
  // one dollar: no space inside it, no digit behind it, so that $5 and $6 stay prices
  [/^\$(?![\s$])((?:\\.|[^\\$\n]){1,1000}?)(?<!\s)\$(?!\d)/, false],
];
const ENVIRONMENT = new RegExp(`^\\\\begin\\{([a-z]{1,20}\\*?)\\}[^]{1,${LONGEST}}?\\\\end\\{\\1\\}`);
const BEGINNING = /\$|\\[([]|\\boxed\{|\\begin\{/;

function formulaAt(text) {
  for (const [pattern, display] of BETWEEN) {
    const found = pattern.exec(text);
    if (found && !/\n\s*\n/.test(found[1])) return formula(found[0], found[1], display);
  }
  const environment = ENVIRONMENT.exec(text);
  if (environment) return formula(environment[0], environment[0], true);
  if (text.startsWith("\\boxed{")) {
    const length = group(text, 6);
    if (length) return { type: "boxed", raw: text.slice(0, 6 + length), tex: text.slice(7, 5 + length) };
  }
  return undefined;
}

function blockAt(text) {
  const found = /^ {0,3}(?=\$\$|\\\[|\\begin\{)/.exec(text);
  const token = found ? formulaAt(text.slice(found[0].length)) : undefined;
  const rest = token ? /^[ \t]*(?:\n+|$)/.exec(text.slice(found[0].length + token.raw.length)) : null;
  return rest ? { ...token, raw: found[0] + token.raw + rest[0] } : undefined;
}

const begins = (text) => {
  const at = text.search(BEGINNING);
  return at < 0 ? undefined : at;
};
const marked = new Marked({ gfm: true, breaks: true });
marked.use({
  extensions: [
    { name: "formula", level: "block", tokenizer: blockAt },
    { name: "inlineFormula", level: "inline", start: begins, tokenizer: formulaAt },
  ],
  tokenizer: {
    html: () => undefined, // it is text
    tag: (text) => (/^<br ?\/?>/i.test(text) ? { type: "br", raw: /^[^>]*>/.exec(text)[0] } : undefined),
  },
});

// --- elements ---------------------------------------------------------------------------------------------------------

function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: "\"", apos: "'", nbsp: "\u00a0" };

/** A text with the commonest character references replaced. */
const plain = (text) => text.replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|(\w{1,8}));/gi, (whole, decimal, hex, name) => {
  const code = decimal ? parseInt(decimal, 10) : hex ? parseInt(hex, 16) : 0;
  if (code > 0 && code <= 0x10ffff) return String.fromCodePoint(code);
  return Object.hasOwn(ENTITIES, name) ? ENTITIES[name] : whole;
});

/** TeX as MathML; TeX that cannot be read as it is written. */
function mathematics(tex, display, raw) {
  const wide = { class: "formula display", tabindex: "0", role: "group", "aria-label": "Formula" }; // it can be scrolled
  const node = make("span", display ? wide : { class: "formula" });
  try {
    temml.render(tex, node, { ...TEMML, displayMode: display });
  } catch {
    node.replaceChildren(make("code", {}, raw));
  }
  return node;
}

/** A link to another site; null: the address is none. */
function link(href, title, children) {
  try {
    const address = new URL(plain(href));
    if (!LINKS.includes(address.protocol)) return null;
    const more = title ? { title: plain(title) } : {};
    return make("a", { href: address.href, target: "_blank", rel: "noopener noreferrer nofollow", ...more }, ...children);
  } catch {
    return null;
  }
}

const cell = (tag) => ({ tokens, align }) => make(tag, align ? { class: `to-${align}` } : {}, ...nodes(tokens));
const row = (tag, cells) => make("tr", {}, ...cells.map(cell(tag)));
const scroller = (node, label) => make("div", { class: "wider", tabindex: "0", role: "group", "aria-label": label }, node);

const ELEMENTS = {
  space: () => [],
  def: () => [],
  br: () => [make("br", {})],
  hr: () => [make("hr", {})],
  text: ({ tokens, text }) => (tokens ? nodes(tokens) : [plain(text)]),
  escape: ({ text }) => [text],
  paragraph: ({ tokens }) => [make("p", {}, ...nodes(tokens))],
  heading: ({ tokens, depth }) => [make(`h${Math.min(6, depth + 3)}`, {}, ...nodes(tokens))],
  strong: ({ tokens }) => [make("strong", {}, ...nodes(tokens))],
  em: ({ tokens }) => [make("em", {}, ...nodes(tokens))],
  del: ({ tokens }) => [make("del", {}, ...nodes(tokens))],
  codespan: ({ text }) => [make("code", {}, text)],
  code: ({ text, lang }) => [scroller(make("pre", {}, make("code", {}, text)), lang ? `Code, ${plain(lang)}` : "Code")],
  blockquote: ({ tokens }) => [make("blockquote", {}, ...nodes(tokens))],
  list: ({ ordered, start, items }) => {
    const at = ordered && Number.isInteger(start) && start !== 1 ? { start } : {};
    return [make(ordered ? "ol" : "ul", at, ...items.map(({ tokens }) => make("li", {}, ...nodes(tokens))))];
  },
  checkbox: ({ checked }) => [checked ? "☑ " : "☐ "],
  table: ({ header, rows }) => [scroller(make("table", {},
    make("thead", {}, row("th", header)), make("tbody", {}, ...rows.map((cells) => row("td", cells)))), "Table")],
  link: ({ href, title, tokens, raw }) => [link(href, title, nodes(tokens)) ?? raw],
  image: ({ href, title, text, raw }) => [link(href, title, [text || href]) ?? raw], // it is not fetched
  formula: ({ tex, display, raw }) => [mathematics(tex, display, raw)],
  boxed: ({ tex, raw }) => [make("span", { class: "boxed" }, /[\\^_{}]/.test(tex) ? mathematics(tex, false, raw) : tex)],
};

function nodes(tokens) {
  return tokens.flatMap((token) => (Object.hasOwn(ELEMENTS, token.type) ? ELEMENTS[token.type](token) : [token.raw]));
}

/** The nodes of a text in Markdown. */
export const rendered = (text) => nodes(marked.lexer(text));
