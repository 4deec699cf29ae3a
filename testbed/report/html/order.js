// Rule: in what order servers stand as rows and columns, and which neighbours form a group. Pure functions of the state.
// @ts-check

/**
 * Neighbours that share a label.
 * @typedef {object} Group
 * @property {number} start place of the first
 * @property {number} stop place after the last
 * @property {string} label
 */
/**
 * Rows or columns.
 * @typedef {object} Axis
 * @property {number[]} servers
 * @property {Group[]} bands the groups of the first level
 * @property {Group[]} subbands those of the other levels, which end where a band ends
 */

/** What servers are grouped by in an order, the first level first. @type {Record<string, string[]>} */
const LEVELS = {
  implementation: ["implementation", "policy", "certificate"],
  version: ["version", "policy", "certificate"],
  policy: ["policy", "certificate", "implementation"],
  certificate: ["certificate", "policy", "implementation"],
};
/** @type {(state: State) => string[]} */
const levelsOf = (state) => LEVELS[state.order] || LEVELS.implementation;

/** All servers in the order of the state. @type {(state: State, pairs: Pair[]) => number[]} */
function orderOf(state, pairs) {
  const all = run.servers.map((_, server) => server);
  switch (state.order) {
    case "implementation": return all; // as the servers stand in every report
    case "number": return all.sort((a, b) => run.servers[a].number - run.servers[b].number);
    case "failures": return byFailures(state, all, pairs);
    default: return byRank(state, all);
  }
}

/** @type {(state: State, servers: number[], pairs: Pair[]) => number[]} */
function byFailures(state, servers, pairs) {
  const failures = new Array(SERVERS).fill(0);
  for (const pair of pairs) {
    const { cell } = pair;
    if (!cell || !(state.view === "change" ? newlyBroken(pair) : cell.broken)) continue;
    failures[cell.sender]++;
    failures[cell.receiver]++;
  }
  return servers.sort((a, b) => failures[b] - failures[a] || a - b);
}

/** By the settings of the first phase, so that rows keep their place when the phase is switched.
 * @type {(state: State, servers: number[]) => number[]} */
function byRank(state, servers) {
  const ranks = levelsOf(state).map((level) => {
    const values = servers.map((server) => ATTRIBUTES[level](server, 0, 0));
    const rank = numbered([...new Set(values)]);
    return values.map((value) => rank[value]);
  });
  return servers.sort((a, b) => {
    for (const rank of ranks) if (rank[a] !== rank[b]) return rank[a] - rank[b];
    return a - b;
  });
}

/** @type {(servers: number[], label: (server: number) => string) => Group[]} */
function groupsOf(servers, label) {
  /** @type {Group[]} */
  const groups = [];
  servers.forEach((server, place) => {
    const text = label(server);
    const last = groups.at(-1);
    if (last && last.label === text) last.stop = place + 1;
    else groups.push({ start: place, stop: place + 1, label: text });
  });
  return groups;
}

/** Groups, cut where a band ends. @type {(groups: Group[], bands: Group[]) => Group[]} */
function cutAtBands(groups, bands) {
  const stops = bands.map((band) => band.stop);
  return groups.flatMap(({ start, stop, label }) => {
    const cuts = [start, ...stops.filter((at) => at > start && at < stop), stop];
    return cuts.slice(1).map((end, number) => ({ start: cuts[number], stop: end, label }));
  });
}

/** Servers as rows or columns, in groups by those levels in which they differ.
 * @type {(state: State, servers: number[]) => Axis} */
function axisOf(state, servers) {
  const [phase, earlier] = [shownPhase(state), earlierPhase(state)];
  const labels = levelsOf(state).map((level) => run.servers.map((_, server) => ATTRIBUTES[level](server, phase, earlier)));
  const telling = labels.filter((texts) => new Set(texts).size > 1);
  const grouped = state.order in ATTRIBUTES;
  const bands = grouped && telling.length ? groupsOf(servers, (server) => telling[0][server]) : [];
  const rest = grouped ? telling.slice(1) : telling;
  const subbands = rest.length ? groupsOf(servers, (server) => rest.map((texts) => texts[server]).join(" · ")) : [];
  return { servers, bands, subbands: cutAtBands(subbands, bands) };
}
