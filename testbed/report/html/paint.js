// Rule: colours and marks: which tone a cell has in a colouring, and how a mark is drawn. Elements are made here, never markup.

/** An element: attributes (`on…` are listeners, `text` its text), then children. Text is always text. */
function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "text") element.textContent = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
const domain = (server) => h("bdi", { class: "domain", text: D.servers[server].domain });
const pairText = (s, r) => `${D.servers[s].domain} → ${D.servers[r].domain}`;

const TONES = Object.fromEntries(Object.entries(D.colourings).map(([name, tones]) => [name, tones.map((tone) => tone.key)]));
const NO_TONE = -1;

/** Which tone of a colouring a cell has: a place in D.colourings[colouring]; -1 where the colouring has nothing to say. */
function toneOf(name, cell, before) {
  const place = (key) => TONES[name].indexOf(key);
  if (name === "change") return changeOf(before, cell);
  if (name === "outcome") return cell ? cell.state : STATE.missing;
  if (!cell || cell.kind === UNKNOWN) return name === "cause" && cell && cell.row.cause ? place(cell.row.cause) : place("not-judged");
  const channel = cell.row.channel || {};
  const delivered = cell.kind !== BROKEN;
  switch (name) {
    case "encryption":
      return place(!delivered ? "not-delivered" : ["tls", "cleartext", "unseen"][cell.kind]);
    case "authentication":
      if (!delivered) return place("not-delivered");
      return place(["external", "dialback", "none"].includes(channel.authentication) ? channel.authentication : "unseen");
    case "tls":
      if (!delivered) return place("not-delivered");
      if (cell.kind !== TLS) return place(cell.kind === CLEARTEXT ? "cleartext" : "unseen");
      if (!channel.tls_version) return place("unseen");
      return place(channel.tls_version) < 0 ? place("other") : place(channel.tls_version);
    case "cause":
      if (delivered) return place("delivered");
      return cell.row.cause ? place(cell.row.cause) : place("not-judged");
    case "surprise":
      if (!cell.row.surprise) return place(delivered ? "fine" : "broken");
      if (!delivered) return place("worse");
      return place((cell.row.expected || {}).outcome === "delivered" ? "otherwise" : "better");
  }
  return NO_TONE;
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}
const fillOf = (tone, dark) => (dark && tone.dark ? tone.dark[0] : tone.fill);
const inkOf = (tone, dark) => (dark && tone.dark ? tone.dark[1] : tone.ink);

/** Draw a tone's mark into a square of `side` at x, y. */
function mark(c, tone, x, y, side, ink) {
  const half = (side * tone.size) / 2;
  const [mx, my] = [x + side / 2, y + side / 2];
  c.strokeStyle = c.fillStyle = ink;
  c.lineWidth = Math.max(1, side * 0.09);
  c.beginPath();
  const triangle = (up) => {
    c.moveTo(mx, my - up * half);
    c.lineTo(mx + half, my + up * half * 0.8);
    c.lineTo(mx - half, my + up * half * 0.8);
    c.closePath();
  };
  switch (tone.mark) {
    case "disc": c.arc(mx, my, half, 0, 7); c.fill(); break;
    case "ring": c.arc(mx, my, half, 0, 7); c.stroke(); break;
    case "triangle": triangle(1); c.stroke(); break;
    case "up": triangle(1); c.fill(); break;
    case "down": triangle(-1); c.fill(); break;
    case "square": c.strokeRect(mx - half, my - half, 2 * half, 2 * half); break;
    case "cross":
      c.moveTo(mx - half, my - half); c.lineTo(mx + half, my + half);
      c.moveTo(mx + half, my - half); c.lineTo(mx - half, my + half); c.stroke(); break;
    case "plus":
      c.moveTo(mx - half, my); c.lineTo(mx + half, my); c.moveTo(mx, my - half); c.lineTo(mx, my + half); c.stroke(); break;
    case "bar": c.lineWidth = Math.max(1.5, side * 0.14); c.moveTo(mx - half, my); c.lineTo(mx + half, my); c.stroke(); break;
    case "slash": c.moveTo(mx - half, my + half); c.lineTo(mx + half, my - half); c.stroke(); break;
    default: { // a question mark, or a letter
      const letter = tone.mark.startsWith("text:") ? tone.mark.slice(5) : "?";
      c.font = `700 ${Math.round(side * 0.62)}px system-ui, sans-serif`;
      c.textAlign = "center";
      c.textBaseline = "middle";
      c.fillText(letter, mx, my + side * 0.04);
    }
  }
}

/** A small picture of a tone, as the legend and the lists show it. */
function swatch(name, place, surprise = false) {
  const side = 18;
  const canvas = h("canvas", { class: "swatch", width: side * 2, height: side * 2, "aria-hidden": "true" });
  canvas.dataset.tone = `${name}/${place}/${surprise ? 1 : 0}`;
  repaint(canvas);
  return canvas;
}
function repaint(canvas) {
  const [name, place, surprise] = canvas.dataset.tone.split("/");
  const tone = D.colourings[name][place];
  const dark = isDark();
  const c = canvas.getContext("2d");
  c.setTransform(2, 0, 0, 2, 0, 0);
  c.clearRect(0, 0, 18, 18);
  c.fillStyle = fillOf(tone, dark);
  c.fillRect(0, 0, 18, 18);
  c.strokeStyle = dark ? "#6b7480" : "#8a8a8a";
  c.lineWidth = 1;
  c.strokeRect(0.5, 0.5, 17, 17);
  mark(c, tone, 0, 0, 18, inkOf(tone, dark));
  if (surprise === "1") corner(c, 0, 0, 18, dark);
}
/** The corner of a surprise. */
function corner(c, x, y, side, dark) {
  const size = Math.max(3, side * 0.34);
  c.fillStyle = dark ? "#ffffff" : "#000000";
  c.strokeStyle = dark ? "#000000" : "#ffffff";
  c.lineWidth = 1;
  c.beginPath();
  c.moveTo(x + side - size, y);
  c.lineTo(x + side, y);
  c.lineTo(x + side, y + size);
  c.closePath();
  if (side >= 10) c.stroke();
  c.fill();
}
