// Votes: two pictures of the same prompt and seed, without a word about which is which; and what all votes say.
(() => {
  "use strict";
  const { look } = window, { $, make, state } = look;
  const own = { ballot: null, mine: 0, votes: 0, told: "", busy: false, table: null };
  look.votesState = own;

  const voter = () => window.localStorage?.getItem("astolfo-voter") || "";
  const query = () => `?voter=${encodeURIComponent(voter())}`;

  async function ask(path, method = "GET", body = null) {
    const sent = body ? { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } } : {};
    const answer = await fetch(path, { method, credentials: "same-origin", ...sent });
    const found = await answer.json().catch(() => ({}));
    if (answer.ok) return found;
    throw new Error(found.error || (found.where && `${found.where}: found ${found.found}; expected ${found.expected}`) || answer.statusText);
  }
  look.ask = ask;

  /** Do one thing with the server, and show what comes of it. */
  async function once(work) {
    if (own.busy) return;
    own.busy = true;
    try {
      const { ballot, mine, votes } = await work();
      Object.assign(own, { ballot, mine, votes, told: "" });
    } catch (error) {
      own.told = `That did not work: ${error.message}`;
    }
    own.busy = false;
    look.refresh();
  }

  look.enterVotes = () => { own.table = null; if (!state.offline) once(() => ask(`ballot${query()}`)); };

  const id = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");

  /** ``side``: left, right, equal or skip. */
  look.vote = (side) => {
    const { ballot } = own;
    if (!ballot || own.table) return;
    const sides = { left: ballot.left, right: ballot.left === "first" ? "second" : "first" };
    const body = { ...ballot, answer: sides[side] || side, voter: voter(), id: (ballot.id ||= id()) };
    document.querySelector(".ballot")?.classList.add("flash");
    once(() => ask("votes", "POST", body));
  };

  look.undoVote = () => once(() => ask(`votes${query()}`, "DELETE"));

  look.toggleTable = async () => {
    if (own.table) own.table = null;
    else try { own.table = await ask("votes"); } catch (error) { own.told = error.message; }
    look.refresh();
  };

  function name() {
    const field = make("input", { type: "text", maxlength: 40, value: voter(), placeholder: "may be empty", "aria-label": "Your name" });
    field.addEventListener("change", () => { window.localStorage?.setItem("astolfo-voter", field.value.trim()); look.enterVotes(); });
    return make("label", {}, "Your name", field);
  }

  look.votes = () => {
    const { ballot } = own, place = $("votes");
    if (state.offline) return place.replaceChildren(make("p", { class: "note" }, "This file has no server behind it that could keep votes. Open the study's page in the tab to vote."), ...(state.view.scores.some((one) => one.name === "votes") ? [make("p", { class: "note" }, "The votes so far are the score “votes” of the cells.")] : []));
    const head = make("div", { class: "row" }, name(), make("button", { type: "button", title: "Take back the last one (Backspace, z)", onclick: look.undoVote, disabled: !own.mine }, "Undo"), make("button", { type: "button", title: "What all votes say (t)", "aria-pressed": Boolean(own.table), onclick: look.toggleTable }, "Results"), make("span", { class: "note", id: "count" }, `${own.mine} by you, ${own.votes} in all`));
    const told = own.told ? make("p", { class: "warn", role: "alert" }, own.told) : null;
    place.replaceChildren(head, ...[told].filter(Boolean), own.table ? results(own.table) : ballot ? shown(ballot) : make("p", { class: "note" }, own.busy ? "…" : "There is nothing left to compare for you: fewer than two settings are drawn, or all pairs were asked."));
  };

  function shown(ballot) {
    const sides = ballot.left === "first" ? [ballot.first, ballot.second] : [ballot.second, ballot.first];
    const scene = state.view.scenes[look.cell(ballot.first)?.scene ?? 0], prompt = scene ? scene.prompts[ballot.picture % scene.prompts.length] : "";
    const figures = sides.map((cell, index) => {
      const canvas = make("canvas", { role: "img", "aria-label": index ? "right picture" : "left picture" });
      Object.assign(canvas, { cellId: cell, picture: ballot.picture });
      look.handle(canvas, true);
      const side = index ? "right" : "left";
      return make("div", {}, canvas, make("button", { type: "button", "data-vote": side, onclick: () => look.vote(side) }, index ? "This one  →" : "←  This one"));
    });
    const place = make("div", { class: "ballot" }, ...figures);
    place.style.maxWidth = `${Math.round((2 * Math.max(220, window.innerHeight - 330)) / look.aspect)}px`;
    const more = [["equal", "Equal  ↓"], ["skip", "Skip  ↑"]].map(([answer, words]) => make("button", { type: "button", "data-vote": answer, onclick: () => look.vote(answer) }, words));
    return make("div", {}, make("p", { class: "note" }, "Which is the better picture of: ", make("b", {}, prompt)), place, make("div", { class: "row middle" }, ...more));
  }

  look.drawVotes = () => document.querySelectorAll("#votes canvas").forEach((canvas) => {
    const cell = look.cell(canvas.cellId);
    if (cell) look.draw(canvas, cell, canvas.picture);
  });

  // ---- what the votes say ----

  function interval(one, low, high) {
    const at = (value) => `${(100 * (value - low)) / (high - low || 1)}%`, line = make("i"), point = make("b");
    line.style.left = at(one.low);
    line.style.width = `${(100 * (one.high - one.low)) / (high - low || 1)}%`;
    point.style.left = at(one.strength);
    return make("div", { class: "interval", title: `${look.number(one.low)} to ${look.number(one.high)}` }, line, point);
  }

  function results(table) {
    if (!table.settings.length) return make("p", { class: "note" }, "No votes yet.");
    const low = Math.min(...table.settings.map((one) => one.low)), high = Math.max(...table.settings.map((one) => one.high));
    const headings = ["Setting", "Strength", "95 % interval", "Best", "Elo", "Won", "Lost", "Equal"];
    const rows = table.settings.map((one) => make("tr", {}, ...[one.setting, one.strength.toFixed(2), interval(one, low, high), `${Math.round(100 * one.best)} %`, one.elo.toFixed(0), one.won, one.lost, one.equal].map((value) => make("td", {}, value instanceof Element ? value : String(value)))));
    const whole = make("table", {}, make("thead", {}, make("tr", {}, ...headings.map((word) => make("th", {}, word)))), make("tbody", {}, ...rows));
    const report = make("button", { type: "button", onclick: async (event) => { event.target.disabled = true; try { await ask("report", "POST"); event.target.textContent = "Report written"; } catch (error) { own.told = error.message; look.refresh(); } } }, "Write the report anew, with the votes");
    return make("div", {}, make("div", { class: "scroll" }, whole), ...table.words.map((line) => make("p", { class: "note" }, line)), report);
  }
})();
