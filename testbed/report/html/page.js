// Rule: wires the parts: one object holds all that changes, `go` changes it, `show` shows what follows from it. Starts the page.
// @ts-check

/**
 * @typedef {object} Page
 * @property {State} state
 * @property {View} view made of the state by `show`
 * @property {Layout | null} layout made of the view; null until the matrix has a width
 * @property {Spot} focus where the keyboard is
 * @property {Spot} hover where the pointer is
 * @property {boolean} followStory whether the reader is to be taken to the story that comes next
 */

/** @type {Page} */
const page = {
  state: stateOf(location.hash), view: /** @type {any} */ (null), layout: null, focus: null, hover: null, followStory: false,
};

/** Change the state. `quiet` takes the place of the present entry in the browser's history: for what is being typed.
 * @type {(change: Partial<State>, quiet?: boolean) => void} */
function go(change, quiet = false) {
  page.state = { ...page.state, ...change };
  const address = addressOf(page.state);
  if (address !== addressOf(stateOf(location.hash))) history[quiet ? "replaceState" : "pushState"](null, "", address);
  show();
}

let shownView = "", shownExchange = -1;
/** Everything anew from the state. What did not change is left as it stands. */
function show() {
  const { state } = page;
  const key = addressOf({ ...state, sender: null, receiver: null, list: null });
  if (key === shownView) page.view = { ...page.view, state };
  else {
    shownView = key;
    page.view = viewOf(state);
    layOut();
    showLegend(page.view);
    showStatus(page.view);
    showFacets(page.view);
  }
  if (state.exchange !== shownExchange) showTables(state);
  shownExchange = state.exchange;
  showControls(state);
  showStory(page.view);
  showLists(page.view);
  const chosen = chosenPair();
  if (chosen) focusOn(...chosen);
  redraw();
}

function repaint() {
  const swatches = /** @type {NodeListOf<HTMLCanvasElement>} */ (document.querySelectorAll("canvas.swatch"));
  swatches.forEach(repaintSwatch);
  redraw();
}

// --- what the whole document hears ---

/** @type {(name: string) => void} */
function jump(name) {
  const heading = byId(`${name}-heading`);
  heading.focus({ preventScroll: true });
  heading.scrollIntoView({ block: "start" });
}

/** To the matrix, and where the story stands below it, on to the story. */
function jumpToPair() {
  jump("matrix");
  if (innerWidth < NARROW_WINDOW) byId("story").scrollIntoView({ block: "start" });
}

/** Clicks beside an open facet close it; links may also lead to another part of the page. @type {(event: MouseEvent) => void} */
function onClick(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (!target.closest(".facet")) closeFacets();
  const jumping = /** @type {HTMLElement | null} */ (target.closest("[data-jump]"));
  if (jumping) {
    if (jumping.getAttribute("href") === "#matrix-heading") event.preventDefault(); // the address is the state's
    setTimeout(() => jump(jumping.dataset.jump || ""));
  }
  if (target.closest("[data-cell]")) setTimeout(jumpToPair);
}

/** @type {(event: KeyboardEvent) => void} */
function onEscape(event) {
  if (event.key !== "Escape") return;
  const open = byId("facets").querySelector("details[open]");
  if (open) {
    closeFacets();
    within(open, "summary").focus();
  } else if (/** @type {HTMLElement} */ (event.target).closest("#story") && chosenPair()) closeStory();
}

/** @type {(event: Event) => void} */
function onFacetToggle(event) {
  if (!(event.target instanceof HTMLDetailsElement) || !event.target.open) return;
  closeFacets(event.target);
  showFacets(page.view);
}

function followAddress() {
  page.state = stateOf(location.hash);
  show();
}

function start() {
  listenToTheme(repaint);
  if (!SERVERS || !CELLS.some((phase) => phase.some((cells) => cells.length))) return; // the text says so
  for (const name of ["matrix", "lists", "servers"]) byId(`${name}-section`).hidden = false;
  buildControls();
  buildTabs();
  show();
  listenToSize();
  listenToPointer();
  byId("facets").addEventListener("toggle", onFacetToggle, true);
  document.addEventListener("click", onClick);
  document.addEventListener("keydown", onEscape);
  addEventListener("popstate", followAddress);
  addEventListener("hashchange", followAddress);
  if (chosenPair()) byId(innerWidth < NARROW_WINDOW ? "story" : "matrix-section").scrollIntoView({ block: "start" });
}

start();
