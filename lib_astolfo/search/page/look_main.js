// The page itself: what is to be seen, keys, the cell in focus, and asking for what has come.
(() => {
  "use strict";
  const { look } = window, { $, make, state } = look;
  const BUSY_WAIT = 2000, IDLE_WAIT = 15000; // milliseconds
  const KEYS = [
    ["← ↑ → ↓", "another cell; compared: the cell in hand moves along the axes, wipe and blend by ← →"], ["Space", "choose the cell (up to four)"],
    ["Enter", "compare those chosen, or the cell beside the best one"], ["Escape", "back to the grid"], ["+ − 0", "zoom in, out, whole; Shift and arrows move what is seen"],
    [", .", "the picture before, the next one; a: all of a cell"], ["s w b f d", "side by side, wipe, blend, flicker, difference"],
    ["1 2 3 4", "one of the compared cells alone, and in hand"], ["x", "change sides"], ["o n", "order by score, the next score"],
    ["i c t", "the cell's infotext, copy it, send it to txt2img"], ["v", "vote: ← → the better one, ↓ equal, ↑ skip, Backspace takes back, t results"], ["l ?", "light or dark, this list"],
  ];
  let mark = "", timer = 0, channel = null;

  // ---- what is shown ----

  /** Show everything as the state is. ``light``: a slider is in hand, so leave the controls as they are. */
  look.refresh = (light = false) => {
    if (!state.view) return;
    for (const mode of ["grid", "compare", "votes"]) $(mode).hidden = state.mode !== mode;
    document.querySelectorAll("nav [data-act]").forEach((button) => { if (["grid", "compare", "votes"].includes(button.dataset.act)) button.setAttribute("aria-pressed", state.mode === button.dataset.act); });
    if (!light) look.controls();
    look.stopCompare();
    ({ grid: look.grid, compare: look.compare, votes: look.votes })[state.mode]();
    info();
    look.redraw();
  };

  look.redraw = () => {
    ({ grid: look.drawGrid, compare: look.drawCompare, votes: look.drawVotes })[state.mode]();
    const whole = Array.from(document.querySelectorAll("#controls button")).find((button) => button.textContent.startsWith("Whole"));
    if (whole) whole.textContent = state.scale > 1 ? `Whole (${look.number(state.scale)}×)` : "Whole";
  };

  function say() {
    const { view } = state, count = view.cells.length;
    $("title").textContent = document.title = view.title || "Pictures";
    const words = [view.planned === null ? `${count} cells` : `${count} of ${view.planned} cells`, state.running ? "drawing" : "", state.chosen.length ? `${state.chosen.length} chosen` : "", state.told || ""];
    $("state").textContent = words.filter(Boolean).join(" · ");
  }

  const shownCell = () => (state.mode === "compare" ? look.compared()[look.compareState.active] : look.cell(state.focus));

  function info() {
    say();
    const cell = shownCell(), place = $("info");
    place.hidden = !cell || !state.info || state.mode === "votes";
    if (place.hidden) return;
    const index = Math.max(0, state.picture), rows = state.view.scores.map((score) => {
      const value = cell.scores[score.name], side = typeof score.better === "number" ? `best at ${score.better}` : score.better === "none" ? "no side is better" : `${score.better} is better`;
      return value ? make("tr", { title: score.help }, make("td", {}, score.name), make("td", {}, look.scoreWords(value)), make("td", {}, value[2] ? look.number(value[2][index]) : "–"), make("td", {}, side)) : null;
    });
    const table = make("table", {}, make("thead", {}, make("tr", {}, ...["Score", "Cell", `Picture ${index + 1}`, ""].map((word) => make("th", {}, word)))), make("tbody", {}, ...rows));
    const send = state.offline ? null : make("button", { type: "button", onclick: () => look.act("send"), title: "Into the WebUI's txt2img that is open in this browser (t)" }, "Send to txt2img");
    const buttons = make("span", { class: "buttons" }, make("button", { type: "button", onclick: () => look.act("copy"), title: "c" }, "Copy infotext"), send, make("button", { type: "button", onclick: () => look.act("info"), title: "i" }, "Close"));
    place.replaceChildren(make("h2", {}, cell.label), make("div", { class: "scroll" }, table), make("pre", { id: "infotext" }, look.infotext(cell, state.picture)), buttons);
  }

  function tell(words) {
    state.told = words;
    say();
    setTimeout(() => { if (state.told === words) { state.told = ""; say(); } }, 4000);
  }

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const field = make("textarea", {}, text); // a page that is not served safely has no clipboard
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
    tell("infotext copied");
  }

  /** Hand an infotext to the WebUI's page, if one is open in this browser. */
  function send(text) {
    if (!window.BroadcastChannel) { tell("this browser cannot"); return; }
    channel ||= new BroadcastChannel("astolfo");
    const none = setTimeout(() => tell("no WebUI page is open in this browser"), 1500);
    channel.onmessage = ({ data }) => { if (data?.took) { clearTimeout(none); tell("sent to txt2img"); } };
    channel.postMessage({ txt2img: text });
  }

  // ---- what can be done ----

  function theme(next) {
    const root = document.documentElement;
    root.dataset.theme = next || (root.dataset.theme === "dark" ? "light" : "dark");
    try { if (!next) localStorage.setItem("astolfo-theme", root.dataset.theme); } catch { /* a page from the disk may keep nothing */ }
  }

  function mode(name) {
    if (name === "compare" && state.mode !== "compare") look.enterCompare();
    if (name === "votes" && state.mode !== "votes") look.enterVotes();
    state.mode = name;
    look.refresh();
  }

  const picture = (by) => { state.picture = Math.min(state.view.pictures - 1, Math.max(-1, state.picture + by)); look.refresh(); };

  const ACTS = {
    grid: () => mode("grid"), compare: () => mode("compare"), votes: () => mode("votes"), theme: () => theme(),
    help: () => ($("help").open ? $("help").close() : $("help").showModal()),
    in: () => look.zoom(1.5), out: () => look.zoom(1 / 1.5), whole: look.unzoom,
    choose: () => { if (state.focus) look.choose(state.focus); look.refresh(); },
    sort: () => { state.sorted = !state.sorted; const focus = look.cell(state.focus); if (focus) state.at = [...focus.at]; look.refresh(); },
    score: () => { const names = state.view.scores.map((one) => one.name); state.score = names[(names.indexOf(state.score) + 1) % names.length] || ""; look.refresh(); },
    info: () => { state.info = !state.info; look.refresh(); }, before: () => picture(-1), next: () => picture(1),
    all: () => { state.picture = state.picture < 0 ? 0 : -1; look.refresh(); },
    swap: () => { const [a, b, ...rest] = state.chosen; if (b) state.chosen = [b, a, ...rest]; look.refresh(); },
    copy: () => { const cell = shownCell(); if (cell) copy(look.infotext(cell, state.picture)); },
    send: () => { const cell = shownCell(); if (cell && !state.offline) send(look.infotext(cell, state.picture)); },
  };
  look.act = (name) => ACTS[name]();

  const ANY = { "+": "in", "=": "in", "-": "out", 0: "whole", ",": "before", ".": "next", a: "all", o: "sort", n: "score", i: "info", c: "copy", t: "send", v: "votes", l: "theme", "?": "help", Escape: "grid" };
  const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const COMPARE = { s: "side", w: "wipe", b: "blend", f: "flicker", d: "difference" };
  const VOTES = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "equal", e: "equal", "=": "equal", ArrowUp: "skip", s: "skip" };

  function arrow([down, right], event) {
    if (event.shiftKey) return look.pan(0.15 * right, 0.15 * down);
    if (state.mode === "grid") return look.step(down, right);
    const own = look.compareState;
    if (right && (own.mode === "wipe" || own.mode === "blend")) return look.movePart(0.02 * right);
    const cell = look.compared()[own.active], next = cell && look.neighbour(cell, down, right);
    if (next) { state.chosen[own.active] = next.id; look.refresh(); }
  }

  function press(event) {
    const { key } = event;
    if (state.mode === "votes") {
      if (key in VOTES) { look.vote(VOTES[key]); return true; }
      if (key === "Backspace" || key === "z") { look.undoVote(); return true; }
      if (key === "t") { look.toggleTable(); return true; }
    }
    if (key in ARROWS && state.mode !== "votes") { arrow(ARROWS[key], event); return true; }
    if (state.mode === "compare" && "1234".includes(key)) { look.alone(Number(key) - 1); return true; }
    if (state.mode === "compare" && key === "x") { look.act("swap"); return true; }
    if (key in COMPARE && state.mode !== "votes") { if (state.mode === "grid") mode("compare"); look.setMode(COMPARE[key]); return true; }
    if (state.mode === "grid" && key === " ") { look.act("choose"); return true; }
    if (state.mode === "grid" && key === "Enter") { mode("compare"); return true; }
    if (key in ANY) { look.act(ANY[key]); return true; }
    return false;
  }

  for (const kind of ["keydown", "pointerdown"]) document.addEventListener(kind, () => { state.touched = true; }, true);
  document.addEventListener("keydown", (event) => {
    const { target } = event, typing = target.matches?.("input[type=text], textarea"), tool = target.matches?.("input, select");
    if (!state.view || typing || event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    if (tool && (event.key in ARROWS || event.key === " " || event.key === "Enter")) return;
    if (target.matches?.("button") && (event.key === " " || event.key === "Enter")) return;
    if (press(event)) event.preventDefault();
  });

  // ---- the study: asked for again while it grows ----

  async function poll() {
    clearTimeout(timer);
    try {
      const found = await look.ask(`view?mark=${encodeURIComponent(mark)}`);
      const changed = state.running !== found.running;
      mark = found.mark;
      state.running = found.running;
      if (found.view) { const first = !state.view; look.take(found.view); if (first) start(); }
      if (found.view || changed) { if (state.mode === "votes") say(); else look.refresh(); }
    } catch (error) {
      $("state").textContent = `The server does not answer: ${error.message}`;
    }
    timer = setTimeout(poll, state.running ? BUSY_WAIT : IDLE_WAIT);
  }

  /** ``#cells/….png``: the cell that a link meant. */
  function start() {
    const wanted = decodeURIComponent(location.hash.slice(1)), cell = look.cells().find((one) => one.picture === wanted);
    if (cell) Object.assign(state, { focus: cell.id, at: [...cell.at], info: true, touched: true });
  }

  const asked = new URLSearchParams(location.search).get("theme");
  let kept = null;
  try { kept = localStorage.getItem("astolfo-theme"); } catch { /* as above */ }
  theme([asked, kept].find((one) => one === "dark" || one === "light") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  document.querySelectorAll("[data-act]").forEach((button) => button.addEventListener("click", () => look.act(button.dataset.act)));
  $("help").replaceChildren(make("h2", {}, "Keys"), make("dl", {}, ...KEYS.flatMap(([keys, words]) => [make("dt", {}, ...keys.split(" ").flatMap((key) => [make("kbd", {}, key), " "])), make("dd", {}, words)])), make("button", { type: "button", onclick: () => $("help").close() }, "Close"));
  addEventListener("resize", () => look.refresh());
  const data = $("data");
  if (data) {
    state.offline = JSON.parse(data.textContent);
    look.take(state.offline.view);
    start();
    look.refresh();
  } else poll();
})();
