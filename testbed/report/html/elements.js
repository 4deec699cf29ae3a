// Rule: elements are made here, never markup: a text that comes from a run stays text.
// @ts-check

/** @typedef {Node | string | null | undefined | false} Child */
/** @typedef {Child | Child[]} Children */

const SWATCH = 18, SWATCH_SCALE = 2;

/** An element: attributes (`on…` are listeners, `text` its text), then children.
 * @type {(name: string, attributes?: Record<string, any>, ...children: Children[]) => HTMLElement} */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "text") made.textContent = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...present(children.flat()));
  return made;
}
/** @type {(children: Child[]) => (Node | string)[]} */
const present = (children) => children.filter((child) => child instanceof Node || Boolean(child)).map((child) => child || "");

/** An element of the page, which has it. @type {(id: string) => HTMLElement} */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
/** A control that buildControls makes. @type {(id: string) => HTMLInputElement | null} */
const controlById = (id) => /** @type {HTMLInputElement | null} */ (document.getElementById(id));
/** @type {(within: ParentNode, selector: string) => HTMLElement} */
const within = (parent, selector) => /** @type {HTMLElement} */ (parent.querySelector(selector));

/** @type {(canvas: HTMLCanvasElement) => CanvasRenderingContext2D} */
const contextOf = (canvas) => /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));

/** A button with a text. @type {(text: string, onclick: () => void, attributes?: Record<string, any>) => HTMLElement} */
const button = (text, onclick, attributes = {}) => element("button", { type: "button", text, onclick, ...attributes });
/** @type {(text: string) => HTMLElement} */
const bold = (text) => element("b", { text });
/** @type {(text: string, className?: string) => HTMLElement} */
const span = (text, className) => element("span", { class: className, text });
/** A paragraph of less weight. @type {(text: string) => HTMLElement} */
const note = (text) => element("p", { class: "note", text });
/** @type {(server: number) => HTMLElement} */
const numberTag = (server) => span(numberText(server), "num");
/** @type {(server: number) => HTMLElement} */
const domainTag = (server) => element("bdi", { class: "domain", text: run.servers[server].domain });
/** Elements with commas between them. @type {(lists: Child[][]) => Child[]} */
const commas = (lists) => lists.flatMap((list, place) => [place ? ", " : "", ...list]);

/** Names and values; a value that there is not is left out. @type {(pairs: [string, Child][]) => HTMLElement} */
const factList = (pairs) => element("dl", { class: "facts" },
  pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => element("div", {}, element("dt", { text: name }), element("dd", {}, value))));

/** A link to a state: a plain click changes only what it names; its address holds the whole state, to be copied or opened anew.
 * @type {(change: Partial<State>, attributes: Record<string, any>, ...children: Children[]) => HTMLElement} */
function stateLink(change, attributes, ...children) {
  const href = addressOf({ ...page.state, ...change });
  /** @type {(event: MouseEvent) => void} */
  const onclick = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    go(change);
  };
  return element("a", { ...attributes, href, onclick }, ...children);
}

/** A small picture of a tone, as the legend and the lists show it.
 * @type {(colouring: string, tone: number, surprise?: boolean) => HTMLElement} */
function swatch(colouring, tone, surprise = false) {
  const pixels = SWATCH * SWATCH_SCALE;
  const canvas = element("canvas", { class: "swatch", width: pixels, height: pixels, "aria-hidden": "true" });
  Object.assign(canvas.dataset, { colouring, tone, surprise });
  repaintSwatch(/** @type {HTMLCanvasElement} */ (canvas));
  return canvas;
}
/** The outcome of a cell, as a picture. @type {(cell?: Cell) => HTMLElement} */
const outcomeSwatch = (cell) => swatch("outcome", cell ? cell.state : STATE.missing, Boolean(cell && cell.row.surprise));

/** @type {(canvas: HTMLCanvasElement) => void} */
function repaintSwatch(canvas) {
  const { colouring = "", tone, surprise } = canvas.dataset;
  const dark = isDark();
  const corner = surprise === "true" ? cornerColours(dark) : null;
  const context = contextOf(canvas);
  context.setTransform(SWATCH_SCALE, 0, 0, SWATCH_SCALE, 0, 0);
  drawSwatch(context, paintsOf(colouring, dark)[Number(tone)], SWATCH, swatchEdge(dark), corner);
}
