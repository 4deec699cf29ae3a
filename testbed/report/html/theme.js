// Rule: light or dark: which it is, and what colours things have then. The choice is kept by the browser, not in the address.
// @ts-check

/** @typedef {{fill: string, ink: string, mark: string, size: number, edged: boolean}} Paint a tone, as it is painted */
/** @typedef {"paper" | "ink" | "faint" | "rule" | "focus" | "edge"} ColourName of what is no tone */
/** @typedef {Record<ColourName, string> & {corner: [string, string]}} Colours */

const KEPT_AS = "testbed-theme";
const CHOICES = ["light", "dark"];
/** Tones that a square's edge keeps from melting into the page. */
const EDGED = ["lost", "inconclusive", "cannot-say", "missing"];
const ON_PAPER = { paper: "#fff", ink: "#1a1a1a", faint: "#666", rule: "#bbb", focus: "#000" };

const darkSystem = matchMedia("(prefers-color-scheme: dark)");
/** @type {() => boolean} */
function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : darkSystem.matches;
}

/** The tones of a colouring. @type {(colouring: string, dark: boolean) => Paint[]} */
function paintsOf(colouring, dark) {
  return run.colourings[colouring].map((tone) => {
    const [fill, ink] = dark && tone.dark ? tone.dark : [tone.fill, tone.ink];
    return { fill, ink, mark: tone.mark, size: tone.size, edged: EDGED.includes(tone.key) };
  });
}

/** What is no tone: as the page's style has it, or as on white paper. @type {(paper: boolean) => Colours} */
function coloursOf(paper) {
  const dark = isDark() && !paper;
  const style = getComputedStyle(document.documentElement);
  /** @type {(name: string) => string} */
  const own = (name) => style.getPropertyValue(name).trim();
  const named = paper ? ON_PAPER
    : { paper: own("--paper"), ink: own("--ink"), faint: own("--faint"), rule: own("--rule"), focus: own("--focus") };
  return { ...named, edge: dark ? "#9aa4b0" : "#777", corner: cornerColours(dark) };
}
/** Fill and edge of the corner that marks a surprise. @type {(dark: boolean) => [string, string]} */
const cornerColours = (dark) => (dark ? ["#ffffff", "#000000"] : ["#000000", "#ffffff"]);
/** @type {(dark: boolean) => string} */
const swatchEdge = (dark) => (dark ? "#6b7480" : "#8a8a8a");

/** The three buttons; `repaint` is called when the colours are others. @type {(repaint: () => void) => void} */
function listenToTheme(repaint) {
  const buttons = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("[data-theme-choice]")]);
  /** @type {(choice?: string) => void} */
  const apply = (choice) => {
    if (!choice || !CHOICES.includes(choice)) delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    const shown = document.documentElement.dataset.theme || "auto";
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.themeChoice === shown));
    repaint();
  };
  for (const button of buttons) {
    button.addEventListener("click", () => {
      const choice = button.dataset.themeChoice || "auto";
      try { localStorage.setItem(KEPT_AS, choice); } catch { /* a browser may keep nothing for a page from disk */ }
      apply(choice);
    });
  }
  let kept = "auto";
  try { kept = localStorage.getItem(KEPT_AS) || "auto"; } catch { /* as above */ }
  apply(kept);
  darkSystem.addEventListener("change", repaint);
}
