// Rule: the grid: which cells match, in what order rows and columns stand, and how they are drawn, pointed at and walked.
// One canvas of the window's size is drawn anew when it is scrolled, so that its cost does not grow with the square of the servers.

const byId = (id) => document.getElementById(id);
const grid = byId("matrix");
const canvas = byId("matrix-canvas");
const M = { rows: [], cols: [], tones: null, match: null, side: 0, focus: null, hover: null, ghost: 0, key: "" };
const GAP_BAND = 0.42, GAP_SUB = 0.14;
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";

// --- which cells match ---

const rowText = [];
function textOfRow(row) {
  if (rowText[row.number] === undefined) {
    rowText[row.number] = [D.states[row.state], row.cause, row.explanation, row.remedy, row.fault].join(" ").toLowerCase();
  }
  return rowText[row.number];
}

const MARKS = {
  surprise: "a surprise", unconfirmed: "not confirmed by a second look", history: "depends on history",
  disturbed: "disturbed by third parties", flaky: "attempts disagreed", "newly-broken": "newly broken", mine: "with a server of yours",
};
function marked(name, cell, before) {
  const row = cell.row;
  switch (name) {
    case "surprise": return Boolean(row.surprise);
    case "unconfirmed": return row.confirmed === false;
    case "history": return Boolean(row.history_dependent);
    case "disturbed": return Boolean(row.interference);
    case "flaky": return Boolean(row.flaky);
    case "mine": return D.servers[cell.sender].mine || D.servers[cell.receiver].mine;
    case "newly-broken": return D.changes[changeOf(before, cell)] === "newly-broken";
  }
  return false;
}
const mendKey = (group) => `${D.mends[group].attribute}:${D.mends[group].label}`;

/** The values that a cell has in a facet. */
function valuesOf(facet, cell, before, s) {
  if (facet === "tone") return [TONES[colouring(s)][toneOf(colouring(s), cell, before)]];
  if (!cell) return [];
  if (facet === "cause") return [cell.row.cause || ""];
  if (facet === "mend") return cell.row.mend === null || cell.row.mend === undefined ? [""] : [mendKey(cell.row.mend)];
  if (facet === "mark") return Object.keys(MARKS).filter((name) => marked(name, cell, before));
  const [role, what] = facet.split("-");
  return [ATTRIBUTES[what](role === "sender" ? cell.sender : cell.receiver, shownPhase(s), sincePhase(s))];
}

/** A function that says whether a cell passes the text and every facet (but one, if it is left out, to count its values). */
function matcher(s, without = null) {
  const wanted = s.q.toLowerCase().split(/\s+/).filter(Boolean);
  const serverText = wanted.length ? D.servers.map((server, n) => [server.domain, server.title, server.version,
    ...Object.values(ATTRIBUTES).map((of) => of(n, shownPhase(s), sincePhase(s)))].join(" ").toLowerCase()) : [];
  const facets = FACETS.filter((f) => f !== without && (s.facets[f] || []).length).map((f) => [f, new Set(s.facets[f])]);
  return (cell, before) => {
    if (!cell) return facets.every(([f, values]) => f === "tone" && values.has(valuesOf(f, cell, before, s)[0])) && !wanted.length;
    const text = wanted.length ? textOfRow(cell.row) : "";
    return wanted.every((word) => serverText[cell.sender].includes(word) || serverText[cell.receiver].includes(word) || text.includes(word))
      && facets.every(([f, values]) => valuesOf(f, cell, before, s).some((value) => values.has(value)));
  };
}
const filtered = (s) => Boolean(s.q) || FACETS.some((f) => (s.facets[f] || []).length);

/** The cells of the view, as [cell or undefined, cell before or undefined, place]. */
function* viewed(s = S) {
  if (!D.phases.length) return;
  const cells = CELLS[shownPhase(s)][s.exchange];
  const before = s.view === "change" ? CELLS[s.from][s.exchange] : [];
  for (let sender = 0; sender < N; sender++) {
    for (let receiver = 0; receiver < N; receiver++) {
      const place = sender * N + receiver;
      if (sender !== receiver && planned(s.exchange, place)) yield [cells[place], before[place], place];
    }
  }
}

// --- in what order ---

function levelsOf(s) {
  const label = (what) => (server) => ATTRIBUTES[what](server, shownPhase(s), sincePhase(s));
  const first = { version: ["version", "policy", "certificate"], policy: ["policy", "certificate", "implementation"],
    certificate: ["certificate", "policy", "implementation"], implementation: ["implementation", "policy", "certificate"] }[s.order]
    || ["implementation", "policy", "certificate"];
  return first.map((what) => ({ what, of: label(what), many: new Set(D.servers.map((_, n) => label(what)(n))).size > 1 }));
}

function ordered(s, levels) {
  const all = D.servers.map((_, n) => n);
  if (s.order === "number") return all.sort((a, b) => D.servers[a].number - D.servers[b].number);
  if (s.order === "failures") {
    const bad = new Array(N).fill(0);
    for (const [cell, before] of viewed(s)) {
      if (cell && (s.view === "change" ? D.changes[changeOf(before, cell)] === "newly-broken" : cell.kind === BROKEN)) {
        bad[cell.sender]++;
        bad[cell.receiver]++;
      }
    }
    return all.sort((a, b) => bad[b] - bad[a] || a - b);
  }
  if (s.order === "implementation") return all; // as the servers stand in every report
  // Ranked by the settings of the first phase, so that rows keep their place when the phase is switched.
  const ranks = levels.map(({ what }) => {
    const key = (n) => ATTRIBUTES[what](n, 0, 0);
    const rank = new Map([...new Set(all.map(key))].map((value, place) => [value, place]));
    return (n) => rank.get(key(n));
  });
  return all.sort((a, b) => {
    for (const rank of ranks) if (rank(a) !== rank(b)) return rank(a) - rank(b);
    return a - b;
  });
}

/** Neighbours that share a label. */
function runs(list, label) {
  const found = [];
  list.forEach((server, place) => {
    const text = label(server);
    if (found.length && found.at(-1).label === text) found.at(-1).stop = place + 1;
    else found.push({ start: place, stop: place + 1, label: text });
  });
  return found;
}

function axis(list, levels, grouped) {
  const shown = levels.filter((level) => level.many);
  const band = grouped && shown.length ? runs(list, shown[0].of) : [];
  const rest = grouped ? shown.slice(1) : shown;
  const bandAt = [];
  band.forEach((run, n) => { for (let i = run.start; i < run.stop; i++) bandAt[i] = n; });
  const sub = [];
  for (const run of rest.length ? runs(list, (server) => rest.map((level) => level.of(server)).join(" · ")) : []) {
    // a run of the second level ends where one of the first does
    let start = run.start;
    for (let i = run.start + 1; i <= run.stop; i++) {
      if (i === run.stop || bandAt[i] !== bandAt[start]) {
        sub.push({ start, stop: i, label: run.label });
        start = i;
      }
    }
  }
  const gaps = new Array(list.length).fill(0);
  for (const run of sub) if (run.start) gaps[run.start] = GAP_SUB;
  for (const run of band) if (run.start) gaps[run.start] = GAP_BAND;
  return { list, band, sub, gaps };
}

function place(of, side) {
  let at = 0;
  of.at = of.list.map((_, i) => {
    at += i ? side + Math.round(of.gaps[i] * Math.min(side, 26)) : 0;
    return at;
  });
  of.total = of.list.length ? at + side : 0;
}

// --- layout ---

function prepare() {
  const s = S;
  const name = colouring(s);
  const passes = matcher(s);
  M.tones = new Int16Array(N * N).fill(NO_TONE);
  M.match = new Uint8Array(N * N);
  const [rowHit, colHit] = [new Uint8Array(N), new Uint8Array(N)];
  M.counts = new Array(D.colourings[name].length).fill(0);
  M.total = M.matching = 0;
  for (const [cell, before, at] of viewed(s)) {
    const tone = toneOf(name, cell, before);
    M.tones[at] = tone;
    M.counts[tone]++;
    M.total++;
    if (passes(cell, before)) {
      M.match[at] = 1;
      M.matching++;
      rowHit[Math.floor(at / N)] = colHit[at % N] = 1;
    }
  }
  const levels = levelsOf(s);
  const order = ordered(s, levels);
  const folded = s.fold && filtered(s);
  const grouped = s.order in ATTRIBUTES;
  M.rows = axis(folded ? order.filter((n) => rowHit[n]) : order, levels, grouped);
  M.cols = axis(folded ? order.filter((n) => colHit[n]) : order, levels, grouped);
  M.levels = levels.filter((level) => level.many).map((level) => level.what);
}

const number = (server) => D.servers[server].number + (D.servers[server].mine ? "★" : "");

function layout() {
  const c = canvas.getContext("2d");
  const width = grid.clientWidth;
  if (!width) return;
  const narrow = width < 560;
  // Measured in bold, as they are when they are pointed at.
  c.font = `700 12px ${FONT}`;
  const widest = (texts, most) => Math.min(most, Math.ceil(Math.max(0, ...texts.map((text) => c.measureText(text).width))));
  const L = { narrow };
  L.num = widest(D.servers.map((_, n) => number(n)), 60) + 10;
  L.sub = M.rows.sub.length ? widest(M.rows.sub.map((r) => r.label), narrow ? 92 : 200) + 8 : 0;
  const lines = M.rows.band.flatMap((r) => (narrow ? [] : [r.label]));
  L.band = M.rows.band.length ? (narrow ? 17 : widest(lines, 190) + 10) : 0;
  const units = (of) => of.list.length + of.gaps.reduce((a, b) => a + b, 0);
  const measure = () => {
    L.left = L.band + L.sub + L.num;
    M.side = S.size || Math.max(5, Math.min(38, Math.floor((width - L.left - 4) / Math.max(1, units(M.cols)))));
  };
  measure();
  if (L.sub && !M.rows.sub.some((run) => (run.stop - run.start) * M.side >= 11)) {
    L.sub = 0; // too low to be written beside
    measure();
  }
  place(M.rows, M.side);
  place(M.cols, M.side);
  c.font = `600 12px ${FONT}`;
  L.bandLines = 0;
  L.turned = false; // labels of groups, where they do not fit across
  for (const run of M.cols.band) {
    run.pixels = M.cols.at[run.stop - 1] + M.side - M.cols.at[run.start];
    run.lines = splitLabel(c, run.label, run.pixels);
    L.bandLines = Math.max(L.bandLines, run.lines.length);
    if (run.lines.join("").replace(" ", "") !== run.label.replace(" ", "") && run.pixels >= 11) L.turned = true;
  }
  L.bandH = L.turned ? widest(M.cols.band.map((run) => run.label), narrow ? 100 : 170) + 8 : L.bandLines * 15 + (L.bandLines ? 4 : 0);
  c.font = `700 12px ${FONT}`;
  const subFits = M.cols.sub.some((run) => M.cols.at[run.stop - 1] + M.side - M.cols.at[run.start] >= 10);
  L.subH = M.cols.sub.length && subFits ? widest(M.cols.sub.map((r) => r.label), narrow ? 84 : 190) + 8 : 0;
  L.numH = M.side >= 9 ? (M.side >= L.num - 6 ? 17 : L.num) : 4;
  L.top = Math.max(L.bandH + L.subH + L.numH, 34);
  M.L = L;
  const room = byId("matrix-room");
  room.style.width = `${L.left + M.cols.total + 2}px`;
  room.style.height = `${L.top + M.rows.total + 2}px`;
  const overflow = L.left + M.cols.total + 2 > width ? 16 : 0;
  grid.style.height = `${Math.min(L.top + M.rows.total + 4 + overflow, Math.max(320, innerHeight * 0.86))}px`;
  grid.setAttribute("aria-rowcount", M.rows.list.length);
  grid.setAttribute("aria-colcount", M.cols.list.length);
}

function splitLabel(c, text, width) {
  if (c.measureText(text).width <= width) return [text];
  const at = Math.max(text.indexOf("@"), text.indexOf(" "));
  return (at > 0 ? [text.slice(0, at), text.slice(at)] : [text]).map((line) => cut(c, line.trim(), width));
}
/** The text, cut to a width in pixels; nothing where not even three letters fit. */
function cut(c, text, width) {
  if (c.measureText(text).width <= width) return text;
  let keep = text.length;
  while (keep > 0 && c.measureText(text.slice(0, keep) + "…").width > width) keep--;
  return keep >= 3 ? text.slice(0, keep) + "…" : "";
}

// --- drawing ---

let waiting = false;
function draw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; paint(); });
}

function paint(scale = Math.max(1, devicePixelRatio || 1), whole = false) {
  const L = M.L;
  if (!L) return;
  const started = performance.now();
  const width = whole ? L.left + M.cols.total + 2 : grid.clientWidth;
  const height = whole ? L.top + M.rows.total + 2 : grid.clientHeight;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const [x0, y0] = whole ? [0, 0] : [grid.scrollLeft, grid.scrollTop];
  const dark = isDark() && !whole;
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => (whole ? { "--paper": "#fff", "--ink": "#1a1a1a", "--faint": "#666", "--rule": "#bbb", "--focus": "#000" }[name]
    : style.getPropertyValue(name).trim());
  const c = canvas.getContext("2d");
  c.setTransform(scale, 0, 0, scale, 0, 0);
  c.fillStyle = colour("--paper");
  c.fillRect(0, 0, width, height);
  const tones = D.colourings[colouring()];
  const cells = D.phases.length ? CELLS[shownPhase()][S.exchange] : [];
  const corners = ["outcome", "change"].includes(colouring());
  const [side, ax, ay] = [M.side, M.cols.at, M.rows.at];
  const gap = side > 12 ? 1 : side > 7 ? 0.5 : 0;
  const dimmed = filtered(S);

  c.save();
  c.beginPath();
  c.rect(L.left, L.top, width - L.left, height - L.top);
  c.clip();
  for (let i = 0; i < ay.length; i++) {
    const y = L.top + ay[i] - y0;
    if (y + side < L.top || y > height) continue;
    for (let j = 0; j < ax.length; j++) {
      const x = L.left + ax[j] - x0;
      if (x + side < L.left || x > width) continue;
      const [sender, receiver] = [M.rows.list[i], M.cols.list[j]];
      if (sender === receiver) {
        if (side >= 5) {
          c.globalAlpha = 1;
          c.strokeStyle = colour("--rule");
          c.lineWidth = 1;
          c.beginPath();
          c.moveTo(x + side * 0.25, y + side * 0.25);
          c.lineTo(x + side * 0.75, y + side * 0.75);
          c.stroke();
        }
        continue;
      }
      const at = sender * N + receiver;
      if (M.tones[at] === NO_TONE) continue;
      const tone = tones[M.tones[at]];
      c.globalAlpha = dimmed && !M.match[at] ? 0.13 : 1;
      c.fillStyle = fillOf(tone, dark);
      c.fillRect(x, y, side - gap, side - gap);
      if (side >= 9) mark(c, tone, x, y, side - gap, inkOf(tone, dark));
      if (corners && side >= 5 && cells[at] && cells[at].row.surprise) corner(c, x, y, side - gap, dark);
      // a black or a white square must not melt into the page
      if (side >= 9 && (tone.key === "lost" || tone.key === "inconclusive" || tone.key === "cannot-say" || tone.key === "missing")) {
        c.strokeStyle = dark ? "#9aa4b0" : "#777";
        c.lineWidth = 1;
        c.strokeRect(x + 0.5, y + 0.5, side - gap - 1, side - gap - 1);
      }
    }
  }
  c.globalAlpha = 1;
  const ring = (sender, receiver, thick) => {
    const [i, j] = [M.rows.list.indexOf(sender), M.cols.list.indexOf(receiver)];
    if (i < 0 || j < 0) return;
    const [x, y] = [L.left + ax[j] - x0, L.top + ay[i] - y0];
    c.lineWidth = thick + 2;
    c.strokeStyle = colour("--paper");
    c.strokeRect(x - 1, y - 1, side - gap + 2, side - gap + 2);
    c.lineWidth = thick;
    c.strokeStyle = colour("--focus");
    c.strokeRect(x - 1, y - 1, side - gap + 2, side - gap + 2);
  };
  const pointed = M.hover || (document.activeElement === grid ? M.focus : null);
  if (!whole) {
    if (S.sender !== null) ring(S.sender, S.receiver, 3);
    if (document.activeElement === grid && M.focus) ring(...M.focus, 3);
    if (M.hover) ring(...M.hover, 1.5);
  }
  c.restore();

  headers(c, { L, width, height, x0, y0, side, colour, pointed: whole ? null : pointed || (S.sender === null ? null : [S.sender, S.receiver]) });
  M.painted = performance.now() - started;
}

function headers(c, { L, width, height, x0, y0, side, colour, pointed }) {
  const ink = (on) => (on ? colour("--ink") : colour("--faint"));
  const clipped = (x, y, w, hgt, work) => {
    c.save();
    c.beginPath();
    c.rect(x, y, w, hgt);
    c.clip();
    work();
    c.restore();
  };
  c.textBaseline = "middle";
  const each = side >= 11 ? 1 : Math.ceil(11 / side);
  clipped(0, L.top, L.left, height - L.top, () => {
    const { at, list, band, sub } = M.rows;
    const span = (run) => [L.top + at[run.start] - y0, at[run.stop - 1] + side - at[run.start]];
    list.forEach((server, i) => {
      const on = pointed && pointed[0] === server;
      const y = L.top + at[i] - y0 + side / 2;
      if (y < L.top - side || y > height + side || (i % each && !on)) return;
      c.font = `${on ? 700 : 400} ${Math.min(12, Math.max(10, side))}px ${FONT}`;
      c.fillStyle = ink(on);
      c.textAlign = "right";
      c.fillText(number(server), L.left - 5, y);
    });
    c.textAlign = "left";
    for (const run of sub) {
      const [y, tall] = span(run);
      if (tall < 11) continue;
      const on = pointed && list.slice(run.start, run.stop).includes(pointed[0]);
      c.font = `${on ? 700 : 400} 12px ${FONT}`;
      c.fillStyle = ink(on);
      c.fillText(cut(c, run.label, L.sub - 4), L.band, Math.max(y + Math.min(tall, 26) / 2, Math.min(L.top + 9, y + tall - 9)));
    }
    for (const run of band) {
      const [y, tall] = span(run);
      const on = pointed && list.slice(run.start, run.stop).includes(pointed[0]);
      c.font = `${on ? 700 : 600} 12px ${FONT}`;
      c.fillStyle = on ? colour("--ink") : colour("--ink");
      if (L.narrow) {
        c.save();
        c.translate(8, y + tall / 2);
        c.rotate(-Math.PI / 2);
        c.textAlign = "center";
        c.fillText(cut(c, run.label, tall), 0, 0);
        c.restore();
        c.textAlign = "left";
      } else if (tall >= 11) c.fillText(cut(c, run.label, L.band - 8), 2, Math.max(y + Math.min(tall, 26) / 2, Math.min(L.top + 9, y + tall - 9)));
    }
  });
  clipped(L.left, 0, width - L.left, L.top, () => {
    const { at, list, band, sub } = M.cols;
    const span = (run) => [L.left + at[run.start] - x0, at[run.stop - 1] + side - at[run.start]];
    const upright = L.numH <= 17;
    if (side >= 9) list.forEach((server, j) => {
      const on = pointed && pointed[1] === server;
      const x = L.left + at[j] - x0 + side / 2;
      if (x < L.left - side || x > width + side || (j % each && !on)) return;
      c.font = `${on ? 700 : 400} ${Math.min(12, Math.max(10, side))}px ${FONT}`;
      c.fillStyle = ink(on);
      c.save();
      c.translate(x, L.top - (upright ? 8 : 5));
      if (!upright) c.rotate(-Math.PI / 2);
      c.textAlign = upright ? "center" : "left";
      c.fillText(number(server), 0, 0);
      c.restore();
    });
    if (L.subH) for (const run of sub) {
      const [x, wide] = span(run);
      if (wide < 10) continue;
      const on = pointed && list.slice(run.start, run.stop).includes(pointed[1]);
      c.font = `${on ? 700 : 400} ${Math.min(12, Math.max(10, wide))}px ${FONT}`;
      c.fillStyle = ink(on);
      c.save();
      c.translate(x + wide / 2, L.top - L.numH - 3);
      c.rotate(-Math.PI / 2);
      c.textAlign = "left";
      c.fillText(cut(c, run.label, L.subH - 4), 0, 0);
      c.restore();
    }
    c.textAlign = "left";
    for (const run of band) {
      const [x, wide] = span(run);
      c.font = `600 12px ${FONT}`;
      c.fillStyle = colour("--ink");
      if (L.turned) {
        if (wide < 11) continue;
        c.save();
        c.translate(x + Math.min(wide / 2, 20), L.bandH - 4);
        c.rotate(-Math.PI / 2);
        c.fillText(cut(c, run.label, L.bandH - 6), 0, 0);
        c.restore();
        continue;
      }
      const left = Math.max(x, Math.min(L.left, x + wide - 60));
      run.lines.forEach((line, n) => c.fillText(line, left, 9 + n * 15));
    }
  });
  c.fillStyle = colour("--paper");
  c.fillRect(0, 0, L.left, L.top);
  c.fillStyle = colour("--faint");
  c.font = `12px ${FONT}`;
  c.textAlign = "right";
  c.fillText("receives →", L.left - 5, L.top - 24);
  c.fillText("sends ↓", L.left - 5, L.top - 8);
}

// --- pointing and walking ---

function hit(event) {
  const box = grid.getBoundingClientRect();
  const x = event.clientX - box.left - grid.clientLeft, y = event.clientY - box.top - grid.clientTop;
  if (!M.L || x < M.L.left || y < M.L.top) return null;
  const find = (of, at) => of.at.findIndex((from) => at >= from && at < from + M.side);
  const i = find(M.rows, y - M.L.top + grid.scrollTop), j = find(M.cols, x - M.L.left + grid.scrollLeft);
  if (i < 0 || j < 0) return null;
  const [sender, receiver] = [M.rows.list[i], M.cols.list[j]];
  return sender === receiver || M.tones[sender * N + receiver] === NO_TONE ? null : [sender, receiver];
}

/** What the cell is, in one line of text: the tip, and what a screen reader says. */
function spoken(sender, receiver) {
  if (sender === receiver) return `${D.servers[sender].domain}: a server does not write to itself`;
  const at = sender * N + receiver;
  const cell = CELLS[shownPhase()][S.exchange][at];
  const parts = [`${number(sender)} ${D.servers[sender].domain} to ${number(receiver)} ${D.servers[receiver].domain}`];
  if (M.tones[at] === NO_TONE) return `${parts[0]}: not planned`;
  parts.push(D.colourings[colouring()][M.tones[at]].label);
  if (cell && cell.kind === BROKEN && colouring() !== "cause") parts.push(cell.row.cause || "cause unknown");
  if (cell && cell.row.surprise) parts.push("a surprise");
  if (filtered(S) && !M.match[at]) parts.push("not among what is filtered for");
  return parts.join(", ");
}

/** Move the grid's focus to a pair, bring it into view, and let it be said. */
function focusOn(sender, receiver, scroll = true) {
  M.focus = [sender, receiver];
  const [i, j] = [M.rows.list.indexOf(sender), M.cols.list.indexOf(receiver)];
  if (i < 0 || j < 0 || !M.L) return;
  const [x, y] = [M.cols.at[j], M.rows.at[i]];
  if (scroll) {
    const [w, hgt] = [grid.clientWidth - M.L.left, grid.clientHeight - M.L.top];
    if (x < grid.scrollLeft) grid.scrollLeft = x - 4;
    if (x + M.side > grid.scrollLeft + w) grid.scrollLeft = x + M.side - w + 4;
    if (y < grid.scrollTop) grid.scrollTop = y - 4;
    if (y + M.side > grid.scrollTop + hgt) grid.scrollTop = y + M.side - hgt + 4;
  }
  // Two cells take turns, so that a screen reader hears of a new one each time.
  M.ghost = 1 - M.ghost;
  const ghost = byId(`matrix-cell-${M.ghost}`);
  ghost.parentElement.setAttribute("aria-rowindex", i + 1);
  ghost.setAttribute("aria-colindex", j + 1);
  ghost.setAttribute("aria-label", spoken(sender, receiver));
  ghost.setAttribute("aria-selected", String(S.sender === sender && S.receiver === receiver));
  ghost.style.transform = `translate(${M.L.left + x}px, ${M.L.top + y}px)`;
  ghost.style.width = ghost.style.height = `${M.side}px`;
  grid.setAttribute("aria-activedescendant", ghost.id);
  draw();
}

function walk(event) {
  if (event.ctrlKey && !["Home", "End"].includes(event.key) || event.altKey || event.metaKey) return;
  const { rows, cols } = M;
  if (!rows.list.length || !cols.list.length) return;
  const start = M.focus || (S.sender === null ? [rows.list[0], cols.list[Math.min(1, cols.list.length - 1)]] : [S.sender, S.receiver]);
  let [i, j] = [Math.max(0, rows.list.indexOf(start[0])), Math.max(0, cols.list.indexOf(start[1]))];
  const [lastRow, lastCol] = [rows.list.length - 1, cols.list.length - 1];
  const group = (of, at, step) => {
    const starts = of.band.map((run) => run.start);
    const found = step > 0 ? starts.find((from) => from > at) : starts.findLast((from) => from < at);
    return found === undefined ? (step > 0 ? of.list.length - 1 : 0) : found;
  };
  switch (event.key) {
    case "ArrowUp": i--; break;
    case "ArrowDown": i++; break;
    case "ArrowLeft": j--; break;
    case "ArrowRight": j++; break;
    case "PageUp": i = group(rows, i, -1); break;
    case "PageDown": i = group(rows, i, 1); break;
    case "Home": j = 0; if (event.ctrlKey) i = 0; break;
    case "End": j = lastCol; if (event.ctrlKey) i = lastRow; break;
    case "Enter": case " ":
      event.preventDefault();
      choose(rows.list[i], cols.list[j], true);
      return;
    case "Escape": if (S.sender !== null) go({ sender: null, receiver: null }); return;
    default: return;
  }
  event.preventDefault();
  focusOn(rows.list[Math.max(0, Math.min(lastRow, i))], cols.list[Math.max(0, Math.min(lastCol, j))]);
}

let followStory = false;
/** Show a pair's story; `follow` takes the reader there. */
function choose(sender, receiver, follow) {
  if (sender === receiver || !planned(S.exchange, sender * N + receiver)) return;
  M.focus = [sender, receiver];
  followStory = follow || grid.clientWidth < 560 || innerWidth < 900;
  if (S.sender === sender && S.receiver === receiver) show();
  else go({ sender, receiver });
}

function listenToMatrix() {
  const tip = byId("tip");
  grid.addEventListener("pointermove", (event) => {
    if (event.pointerType === "touch") return;
    const found = hit(event);
    const same = found && M.hover && found[0] === M.hover[0] && found[1] === M.hover[1];
    if (!same) {
      M.hover = found;
      grid.style.cursor = found ? "pointer" : "";
      tip.hidden = !found;
      if (found) tip.textContent = spoken(...found);
      draw();
    }
    if (found) {
      tip.style.left = `${Math.max(4, Math.min(innerWidth - tip.offsetWidth - 8, event.clientX + 14))}px`;
      tip.style.top = `${event.clientY + 18 + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 10 : event.clientY + 18}px`;
    }
  });
  grid.addEventListener("pointerleave", () => { M.hover = null; tip.hidden = true; draw(); });
  grid.addEventListener("click", (event) => {
    const found = hit(event);
    if (found) choose(...found, false);
  });
  grid.addEventListener("keydown", walk);
  grid.addEventListener("focus", () => {
    if (!M.rows.list.length || !M.cols.list.length) return;
    if (!M.focus) M.focus = S.sender === null ? [M.rows.list[0], M.cols.list[Math.min(1, M.cols.list.length - 1)]] : [S.sender, S.receiver];
    focusOn(...M.focus, false);
  });
  grid.addEventListener("blur", draw);
  grid.addEventListener("scroll", draw, { passive: true });
  new ResizeObserver(() => {
    if (M.width === grid.clientWidth) return;
    M.width = grid.clientWidth;
    layout();
    draw();
  }).observe(grid);
  addEventListener("beforeprint", () => { layout(); paint(2, true); });
  addEventListener("afterprint", () => { layout(); draw(); });
}
