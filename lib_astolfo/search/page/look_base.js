// The page on which a study's pictures are looked at: its state, its pictures, and how a picture is drawn.
// Plain scripts without import and export: served one by one, and written into one file for a page without a server.
(() => {
  "use strict";
  const look = (window.look = {});
  const MOST = 4, DEEPEST = 64, MANY = 12; // cells that are compared, magnification, block ratios in a table

  look.$ = (id) => document.getElementById(id);

  /** An element; what is shown becomes text nodes, so that no prompt or name is ever read as HTML. */
  look.make = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (name.startsWith("aria-")) element.setAttribute(name, String(value));
      else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
    return element;
  };

  look.number = (value) => (value === null || value === undefined ? "–" : String(Number(Number(value).toPrecision(4))));
  look.scoreWords = ([mean, error]) => look.number(mean) + (error === null ? "" : ` ± ${Number(error.toPrecision(2))}`);

  const state = (look.state = {
    mode: "grid", row: 0, column: -1, at: [], picture: 0, focus: null, chosen: [], score: "", sorted: false, info: false,
    touched: false, scale: 1, x: 0.5, y: 0.5, view: null, running: false, offline: null,
  });

  // ---- the study ----

  look.cells = () => state.view?.cells || [];
  look.cell = (id) => state.byId?.get(id);

  /** Take a view of the study, the first one or one with more cells; what was chosen stays chosen. */
  look.take = (view) => {
    const first = !state.view, names = view.axes.map((axis) => axis.name).join(), same = !first && names === state.axisNames;
    const held = same ? state.at.map((index, axis) => state.view.axes[axis].values[index]?.label) : [];
    state.view = view;
    state.byId = new Map(view.cells.map((cell) => [cell.id, cell]));
    state.byPlace = new Map(view.cells.map((cell) => [cell.at.join(), cell]));
    state.axisNames = names;
    if (!same) {
      const order = view.axes.map((axis, index) => index).sort((a, b) => view.axes[b].values.length - view.axes[a].values.length);
      const ratio = view.axes.findIndex((axis) => axis.name === "ratio" && axis.values.length > 1);
      state.row = ratio >= 0 ? ratio : order[0] ?? -1;
      state.column = order.find((index) => index !== state.row && view.axes[index].values.length > 1) ?? -1;
    }
    state.at = view.axes.map((axis, index) => Math.max(0, axis.values.findIndex((value) => value.label === held[index])));
    if (first) {
      state.score = view.primary || view.scores[0]?.name || "";
      const best = look.cell(view.best), blocks = view.axes.find((axis) => axis.name === "blocks");
      if (best) state.at = [...best.at];
      state.sorted = Boolean(blocks && blocks.values.length > MANY); // a search over blocks fills no table
    }
    if (!first && !state.touched && look.cell(view.best)) Object.assign(state, { focus: view.best, at: [...look.cell(view.best).at] });
    if (!state.byId.has(state.focus)) state.focus = view.best || view.cells[0]?.id || null;
    state.chosen = state.chosen.filter((id) => state.byId.has(id));
    state.picture = Math.min(state.picture, view.pictures - 1);
  };

  /** The cell at the places of all axes, of which some are changed: {axis: place}. */
  look.cellAt = (changed, from) => {
    const at = [...(from || state.at)];
    for (const [axis, place] of Object.entries(changed)) if (axis >= 0) at[axis] = place;
    return state.byPlace.get(at.join());
  };

  look.loss = (cell, name) => {
    const score = state.view.scores.find((one) => one.name === name), value = cell.scores[name]?.[0];
    if (value === null || value === undefined || !score) return Infinity;
    return score.better === "higher" ? -value : typeof score.better === "number" ? Math.abs(value - score.better) : value;
  };

  /** The infotext of one of a cell's pictures: that of the first with its own prompt and seed, where that can be told. */
  look.infotext = (cell, index) => {
    const scene = state.view.scenes[cell.scene], count = scene.prompts.length, i = Math.max(index, 0);
    const [prompt, own] = [scene.prompts[0], scene.prompts[i % count]], seed = `Seed: ${scene.seed}`;
    if (i === 0) return cell.infotext;
    const end = cell.infotext.indexOf(seed, prompt.length), next = cell.infotext[end + seed.length];
    if (!cell.infotext.startsWith(prompt) || end < 0 || (next !== undefined && next !== ",")) return `${cell.infotext}\n(of the cell's first picture)`;
    const middle = cell.infotext.slice(prompt.length, end), rest = cell.infotext.slice(end + seed.length);
    return `${own}${middle}Seed: ${(scene.seed + i) % 2 ** 32}${rest}`;
  };

  look.choose = (id) => {
    if (state.chosen.includes(id)) state.chosen = state.chosen.filter((one) => one !== id);
    else state.chosen = [...state.chosen, id].slice(-MOST);
  };

  // ---- pictures ----

  const images = new Map();

  look.address = (name) => (state.offline ? state.offline.pictures[name] : `files/${name.split("/").map(encodeURIComponent).join("/")}`);

  /** A picture by its name; null until it is there, when ``then`` is called. */
  look.load = (name, then) => {
    let found = images.get(name);
    if (!found) {
      found = { image: new Image(), waiting: [] };
      found.image.onload = () => found.waiting.splice(0).forEach((one) => one());
      found.image.onerror = () => { images.delete(name); };
      found.image.src = look.address(name);
      images.set(name, found);
    }
    const ready = found.image.complete && found.image.naturalWidth > 0;
    if (!ready && then) found.waiting.push(then);
    return ready ? found.image : null;
  };

  /** The sheet of a cell's pictures. */
  look.image = (cell, then) => look.load(cell.picture, then);

  /** What to draw of a cell, and its place there: from the sheet, or beside few others the picture in its full size. */
  look.source = (cell, index, then) => {
    const sheet = look.image(cell, then);
    if (cell.own && index >= 0 && !state.offline && state.mode !== "grid") {
      const seed = (state.view.scenes[cell.scene].seed + index) % 2 ** 32;
      const whole = look.load(`${cell.own}/${String(index + 1).padStart(4, "0")}-${seed}.png`, then);
      if (whole) return [whole, [0, 0, whole.naturalWidth, whole.naturalHeight]];
    }
    return sheet && [sheet, look.tile(sheet, index)];
  };

  /** Where a picture stands in its cell's sheet: [x, y, width, height]; -1 is the whole sheet. */
  look.tile = (image, index) => {
    const { pictures, across } = state.view;
    if (index < 0) return [0, 0, image.naturalWidth, image.naturalHeight];
    const width = image.naturalWidth / across, height = image.naturalHeight / Math.ceil(pictures / across);
    return [(index % across) * width, Math.floor(index / across) * height, width, height];
  };

  let waiting = false;
  /** Lay everything out anew with the next frame. */
  look.soon = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; look.refresh(); });
  };

  look.aspect = 1; // height over width of what a cell shows
  look.learnAspect = ([, [, , width, height]]) => {
    const found = height / width;
    if (Math.abs(found / look.aspect - 1) < 0.04) return false; // a small tile is rounded
    look.aspect = found;
    return true;
  };

  /** Make the canvas as fine as the screen; its context, and width and height in its own pixels. */
  look.prepare = (canvas) => {
    const width = Math.max(1, Math.round(canvas.clientWidth * (window.devicePixelRatio || 1))), height = Math.max(1, Math.round(width * look.aspect));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    return [context, width, height];
  };

  /** Where the zoom puts a picture of this size: the rectangle on the canvas, and how many pixels one of it takes. */
  look.placed = (width, height, sourceWidth, sourceHeight) => {
    const scale = Math.min(width / sourceWidth, height / sourceHeight) * state.scale;
    return [width / 2 - state.x * sourceWidth * scale, height / 2 - state.y * sourceHeight * scale, sourceWidth * scale, sourceHeight * scale, scale];
  };

  look.paint = (context, width, height, source, [sx, sy, sw, sh]) => {
    const [x, y, w, h, scale] = look.placed(width, height, sw, sh);
    context.imageSmoothingEnabled = scale < 2;
    context.imageSmoothingQuality = "high";
    context.drawImage(source, sx, sy, sw, sh, x, y, w, h);
  };

  /** Draw a cell's picture into a canvas, now or when it is there. */
  look.draw = (canvas, cell, index = state.picture) => {
    const source = look.source(cell, index, () => { if (canvas.isConnected) look.draw(canvas, cell, index); });
    if (!source) return;
    if (look.learnAspect(source)) look.soon();
    const [context, width, height] = look.prepare(canvas);
    look.paint(context, width, height, ...source);
  };

  // ---- zoom and pan, the same for all ----

  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

  look.zoom = (factor, atX = 0.5, atY = 0.5) => {
    const before = state.scale;
    state.scale = clamp(before * factor, 1, DEEPEST);
    state.x += (atX - 0.5) * (1 / before - 1 / state.scale);
    state.y += (atY - 0.5) * (1 / before - 1 / state.scale);
    look.pan(0, 0);
  };

  /** Move by shares of what is seen. */
  look.pan = (dx, dy) => {
    const half = 0.5 / state.scale;
    state.x = clamp(state.x + dx / state.scale, half, 1 - half);
    state.y = clamp(state.y + dy / state.scale, half, 1 - half);
    look.redraw?.();
  };

  look.unzoom = () => { Object.assign(state, { touched: false, scale: 1, x: 0.5, y: 0.5 }); look.redraw?.(); };

  /** Wheel, drag and pinch on a canvas. ``free``: the wheel zooms by itself, else with Ctrl, and scrolls the page. */
  look.handle = (canvas, free) => {
    const fingers = new Map();
    let moved = false, apart = 0;
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    canvas.addEventListener("wheel", (event) => {
      if (!free && !event.ctrlKey) return;
      event.preventDefault();
      look.zoom(Math.exp(-event.deltaY * (event.ctrlKey && Math.abs(event.deltaY) < 20 ? 0.02 : 0.002)), ...at(event));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => { fingers.set(event.pointerId, at(event)); moved = false; apart = 0; });
    canvas.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId), now = at(event);
      if (!before) return;
      fingers.set(event.pointerId, now);
      const points = [...fingers.values()];
      if (points.length === 2) {
        const distance = Math.hypot(points[0][0] - points[1][0], points[0][1] - points[1][1]);
        if (apart) look.zoom(distance / apart, (points[0][0] + points[1][0]) / 2, (points[0][1] + points[1][1]) / 2);
        apart = distance;
        moved = true;
      } else if (state.scale > 1 && event.buttons) {
        if (Math.hypot(now[0] - before[0], now[1] - before[1]) > 0.004) { moved = true; if (!canvas.hasPointerCapture(event.pointerId)) canvas.setPointerCapture(event.pointerId); }
        look.pan(before[0] - now[0], before[1] - now[1]);
      }
    });
    for (const end of ["pointerup", "pointercancel", "pointerleave"]) canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
    canvas.addEventListener("click", (event) => { if (moved) { event.stopPropagation(); moved = false; } }, true);
  };
})();
