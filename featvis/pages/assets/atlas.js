// A map of activations: zoom, pan, choose a cell; one class's share of it. Everything it shows lies beside the page.
(() => {
  "use strict";
  const MOST = 12;
  const SLACK = 5;

  const make = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };
  const number = (value) => {
    if (value === null || value === undefined) return "";
    const size = Math.abs(value);
    return (value < 0 ? "−" : "") + (size >= 100 ? size.toFixed(0) : size >= 1 ? size.toFixed(2) : size.toPrecision(2));
  };
  const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

  // Which part of a sprite a tile is, for any size of the element.
  const paint = (element, file, place, columns, count) => {
    const rows = Math.max(1, Math.ceil(count / columns));
    const column = place % columns;
    const row = Math.floor(place / columns);
    element.style.backgroundImage = `url("${encodeURI(file)}")`;
    element.style.backgroundSize = `${columns * 100}% ${rows * 100}%`;
    element.style.backgroundPosition =
      `${columns > 1 ? (column / (columns - 1)) * 100 : 0}% ${rows > 1 ? (row / (rows - 1)) * 100 : 0}%`;
  };

  const unpack = (text) => Int8Array.from(atob(text), (sign) => sign.charCodeAt(0));

  window.featvisAtlas = (table) => {
    const { grids, maps } = table;
    const $ = (id) => document.getElementById(id);
    const viewports = [...document.querySelectorAll(".viewport")];
    const planes = viewports.map((one) => one.firstElementChild);
    const panel = $("panel");
    const view = { scale: 1, left: 0, top: 0 };
    let level = 0;
    let chosen = null; // [grid, cell]
    let asked = "";

    grids.forEach((grid) => {
      grid.at = new Map(grid.cells.map(([row, column], place) => [`${row},${column}`, place]));
    });
    maps.forEach((map) => map.grids.forEach((grid) => {
      if (grid.strength !== undefined) grid.strength = unpack(grid.strength);
    }));

    const topOf = (map, grid, cell) => {
      const told = maps[map].grids[grid];
      return (told.top?.[cell] ?? []).map(([place, value]) => [told.names[place], value]);
    };
    const short = (name) => name.split(",")[0];
    const name = (grid, cell, map = 0) => {
      const [row, column] = grids[grid].cells[cell];
      const classes = topOf(map, grid, cell).slice(0, 2).map(([one]) => short(one));
      return `Row ${row + 1}, column ${column + 1}${classes.length ? `: ${classes.join(", ")}` : ""}`;
    };

    // The cells: a button each, of which one is reached by Tab.
    const buttons = maps.map((map, which) => grids.map((grid, place) => {
      const layer = make("div", { className: "grid" });
      layer.setAttribute("role", "group");
      layer.setAttribute("aria-label", `${map.name}, ${grid.side} by ${grid.side} cells`);
      layer.hidden = place !== 0;
      const made = grid.cells.map(([row, column], cell) => {
        const button = make("button", { type: "button", className: "cell", tabIndex: -1 });
        button.setAttribute("aria-label", name(place, cell, which));
        button.setAttribute("aria-pressed", "false");
        const side = 100 / grid.side;
        Object.assign(button.style, {
          left: `${column * side}%`, top: `${row * side}%`, width: `${side}%`, height: `${side}%`,
        });
        paint(button, map.grids[place].sprite, cell, grid.spriteColumns, grid.cells.length);
        button.addEventListener("click", () => choose(place, cell));
        button.addEventListener("keydown", (event) => walk(event, which, place, cell));
        return button;
      });
      layer.append(...made);
      planes[which].append(layer);
      return made;
    }));

    // Where the view is. All maps move together.
    const clamp = () => {
      view.scale = Math.min(MOST, Math.max(1, view.scale));
      view.left = Math.min(0, Math.max(1 - view.scale, view.left));
      view.top = Math.min(0, Math.max(1 - view.scale, view.top));
    };
    const levelFor = () => {
      const held = $("grid")?.value;
      if (held) return Number(held);
      let found = 0;
      grids.forEach((grid, place) => {
        if (view.scale * 1.05 >= grid.side / grids[0].side) found = place;
      });
      return found;
    };
    const show = () => {
      clamp();
      viewports.forEach((viewport, which) => {
        const side = viewport.clientWidth;
        planes[which].style.transform =
          `translate(${view.left * side}px, ${view.top * side}px) scale(${view.scale})`;
        viewport.classList.toggle("zoomed", view.scale > 1);
      });
      const wanted = levelFor();
      if (wanted !== level) {
        const focused = document.activeElement?.closest?.(".cell");
        level = wanted;
        planes.forEach((plane) => [...plane.children].forEach((one, place) => { one.hidden = place !== level; }));
        if (chosen && chosen[0] !== level) {
          const near = sameIn(chosen[0], chosen[1], level);
          if (near !== null) choose(level, near, { focus: Boolean(focused) });
        }
        reach();
        askClass();
      }
      $("closer").disabled = view.scale >= MOST;
      $("farther").disabled = view.scale <= 1;
    };
    // The cell of another grid that lies where this one does, or nearest to it.
    const sameIn = (grid, cell, other) => {
      const [row, column] = grids[grid].cells[cell];
      const times = grids[other].side / grids[grid].side;
      const down = (row + 0.5) * times - 0.5;
      const across = (column + 0.5) * times - 0.5;
      let best = null;
      let least = Infinity;
      grids[other].cells.forEach(([r, c], place) => {
        const apart = (r - down) ** 2 + (c - across) ** 2;
        if (apart < least) [best, least] = [place, apart];
      });
      return best;
    };
    const zoom = (times, across = 0.5, down = 0.5) => {
      const before = view.scale;
      view.scale = Math.min(MOST, Math.max(1, before * times));
      const by = view.scale / before;
      view.left = across - (across - view.left) * by;
      view.top = down - (down - view.top) * by;
      show();
    };
    const middleOf = () => {
      if (!chosen || chosen[0] !== level) return [0.5, 0.5];
      const [row, column] = grids[level].cells[chosen[1]];
      const side = grids[level].side;
      const at = [view.left + ((column + 0.5) / side) * view.scale, view.top + ((row + 0.5) / side) * view.scale];
      return at.every((one) => one > 0 && one < 1) ? at : [0.5, 0.5];
    };
    const bringIntoSight = (grid, cell) => {
      const [row, column] = grids[grid].cells[cell];
      const side = view.scale / grids[grid].side;
      const left = view.left + column * side;
      const top = view.top + row * side;
      if (left < 0) view.left -= left; else if (left + side > 1) view.left -= left + side - 1;
      if (top < 0) view.top -= top; else if (top + side > 1) view.top -= top + side - 1;
      show();
    };

    // The one cell of each shown grid that Tab reaches.
    const reach = () => {
      maps.forEach((_, which) => {
        const row = buttons[which][level];
        row.forEach((one) => { one.tabIndex = -1; });
        const place = chosen && chosen[0] === level ? chosen[1] : 0;
        if (row[place]) row[place].tabIndex = 0;
      });
    };

    const choose = (grid, cell, { focus = false, which = 0 } = {}) => {
      if (chosen) buttons.forEach((map) => map[chosen[0]][chosen[1]].setAttribute("aria-pressed", "false"));
      chosen = [grid, cell];
      buttons.forEach((map) => map[grid][cell].setAttribute("aria-pressed", "true"));
      reach();
      if (focus) buttons[which][grid][cell].focus({ preventScroll: true });
      if (grid === level) bringIntoSight(grid, cell);
      tell();
      const [row, column] = grids[grid].cells[cell];
      history.replaceState(null, "", `#${grids[grid].side}-${row + 1}-${column + 1}`);
    };

    const goTo = (grid, cell) => {
      if (grid !== level) {
        if ($("grid")) $("grid").value = $("grid").value && String(grid);
        view.scale = Math.max(view.scale, grids[grid].side / grids[0].side);
        level = grid;
        planes.forEach((plane) => [...plane.children].forEach((one, place) => { one.hidden = place !== level; }));
      }
      const [row, column] = grids[grid].cells[cell];
      const side = view.scale / grids[grid].side;
      if (view.left + column * side < 0 || view.left + (column + 1) * side > 1
        || view.top + row * side < 0 || view.top + (row + 1) * side > 1) {
        view.left = 0.5 - (column + 0.5) * side;
        view.top = 0.5 - (row + 0.5) * side;
      }
      choose(grid, cell);
      askClass();
    };

    const walk = (event, which, grid, cell) => {
      const ways = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      const way = ways[event.key];
      if (!way || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      const [row, column] = grids[grid].cells[cell];
      // Straight on first; beside it only where nothing lies straight on.
      let best = null;
      let least = Infinity;
      grids[grid].cells.forEach(([r, c], place) => {
        const along = (r - row) * way[0] + (c - column) * way[1];
        const aside = Math.abs((r - row) * way[1]) + Math.abs((c - column) * way[0]);
        if (along <= 0 || aside > along) return;
        const apart = along + 3 * aside;
        if (apart < least) [best, least] = [place, apart];
      });
      if (best !== null) choose(grid, best, { focus: true, which });
    };

    // What is told of the chosen cell.
    const tile = (file, place, columns, count, label) => {
      const made = make("span", { className: "tile" });
      made.setAttribute("role", "img");
      made.setAttribute("aria-label", label);
      paint(made, file, place, columns, count);
      return made;
    };
    const tell = () => {
      const [place, cell] = chosen;
      const grid = grids[place];
      const [row, column, positions, photographs, patches] = grid.cells[cell];
      const parts = [make("h2", { textContent: `Row ${row + 1}, column ${column + 1} of ${grid.side} × ${grid.side}` })];
      parts.push(make("p", {
        className: "told-cell",
        textContent: `The mean of ${plural(positions, "activation")} from ${plural(photographs, "photograph")}`,
      }));
      const pictures = make("div", { className: "shown-pictures" });
      maps.forEach((map) => {
        const [target, status, score] = map.grids[place].cells[cell];
        const figure = make("figure", {}, tile(
          map.grids[place].sprite, cell, grid.spriteColumns, grid.cells.length, `Picture of this cell in ${map.name}`,
        ));
        const caption = status === "ok" ? `score ${number(score)}` : `no picture: ${status}`;
        figure.append(make("figcaption", { textContent: maps.length > 1 ? `${map.name}: ${caption}` : caption, title: target }));
        pictures.append(figure);
      });
      parts.push(pictures);
      if (patches.length) {
        const list = make("ul", { className: "patches" });
        patches.forEach(([one, photograph]) => {
          const shown = tile(grid.patches, one, grid.patchColumns, grid.patchCount, `Patch of ${photograph}`);
          shown.title = photograph;
          list.append(make("li", {}, shown));
        });
        parts.push(make("h3", { textContent: "In photographs" }), list);
      }
      maps.forEach((map, which) => {
        const spoken = topOf(which, place, cell);
        if (!spoken.length) return;
        const most = Math.max(...spoken.map(([, value]) => Math.abs(value))) || 1;
        const list = make("ol", { className: "spoken-classes" });
        spoken.forEach(([one, value]) => {
          const button = make("button", { type: "button", textContent: short(one), title: one });
          button.setAttribute("aria-label", `Map of ${short(one)}`);
          button.addEventListener("click", () => { $("class").value = one; askClass(); });
          const bar = make("span", { className: "bar" });
          bar.style.width = `${(Math.abs(value) / most) * 100}%`;
          list.append(make("li", {}, button, make("span", { className: "figure", textContent: number(value) }), bar));
        });
        parts.push(make("h3", { textContent: `Speaks for${maps.length > 1 ? ` (${map.name})` : ""}` }), list);
      });
      const near = maps[0].grids[place].cells[cell][3];
      if (near.length) {
        const list = make("ul", { className: "nearest" });
        near.forEach((other) => {
          const button = make("button", { type: "button" });
          button.setAttribute("aria-label", name(place, other));
          button.title = name(place, other);
          paint(button, maps[0].grids[place].sprite, other, grid.spriteColumns, grid.cells.length);
          button.addEventListener("click", () => { goTo(place, other); panel.focus({ preventScroll: true }); });
          list.append(make("li", {}, button));
        });
        parts.push(make("h3", { textContent: "Most alike" }), list);
      }
      parts.push(make("p", { className: "address" }, make("code", { textContent: maps[0].grids[place].cells[cell][0] })));
      panel.replaceChildren(...parts);
    };

    // One class: what each cell says to it beyond the mean cell.
    const askClass = () => {
      const input = $("class");
      if (!input) return;
      const typed = input.value.trim().toLowerCase();
      const known = new Set(maps.flatMap((map) => map.grids.flatMap((grid) => grid.names ?? [])));
      asked = [...known].find((one) => one.toLowerCase() === typed)
        ?? (typed.length > 2 ? [...known].find((one) => one.toLowerCase().split(", ").includes(typed)) : undefined)
        ?? "";
      let told = "";
      maps.forEach((map, which) => map.grids.forEach((grid, place) => {
        const column = (grid.names ?? []).indexOf(asked);
        const width = (grid.names ?? []).length;
        const values = grids[place].cells.map((_, cell) => (column < 0 ? null : grid.strength[cell * width + column]));
        const most = Math.max(1, ...values.map((value) => value ?? 0));
        buttons[which][place].forEach((button, cell) => {
          const value = values[cell];
          const share = value === null ? 1 : Math.max(0, value / most);
          button.classList.toggle("spoken", value !== null && share >= 0.6);
          button.classList.toggle("against", value !== null && value <= 0);
          // The area of a cell is what it says.
          button.style.transform = value === null ? "" : `scale(${Math.max(0.25, Math.sqrt(share)).toFixed(3)})`;
        });
        if (which === 0 && place === level && column >= 0) {
          const best = values.indexOf(Math.max(...values));
          told = `${short(asked)}: cells are as large as what they say for it beyond the mean cell (at most `
            + `${number((values[best] / 127) * grid.most)}), pale where they speak against it.`;
        }
      }));
      $("class-told").textContent = asked ? told || `No cell of this zoom speaks for ${short(asked)} most.` : typed ? "No cell speaks for a class of this name most." : "";
    };

    // Mouse, wheel, fingers.
    const where = (viewport, event) => {
      const box = viewport.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    viewports.forEach((viewport) => {
      const fingers = new Map();
      let moved = 0;
      viewport.addEventListener("wheel", (event) => {
        if (event.deltaY > 0 && view.scale <= 1) return; // the page scrolls on
        event.preventDefault();
        zoom(Math.exp(-Math.max(-60, Math.min(60, event.deltaY)) / 240), ...where(viewport, event));
      }, { passive: false });
      viewport.addEventListener("pointerdown", (event) => {
        if (event.button !== 0) return;
        fingers.set(event.pointerId, where(viewport, event));
        if (fingers.size === 1) moved = 0;
      });
      viewport.addEventListener("pointermove", (event) => {
        if (!fingers.has(event.pointerId)) return;
        const before = [...fingers.values()];
        const at = where(viewport, event);
        const old = fingers.get(event.pointerId);
        fingers.set(event.pointerId, at);
        const side = viewport.clientWidth;
        moved += Math.hypot(at[0] - old[0], at[1] - old[1]) * side;
        if (moved < SLACK) return;
        if (fingers.size === 1 && view.scale > 1) {
          if (!viewport.classList.contains("dragged")) {
            viewport.classList.add("dragged");
            viewport.setPointerCapture(event.pointerId);
          }
          view.left += at[0] - old[0];
          view.top += at[1] - old[1];
          show();
        } else if (fingers.size === 2) {
          const now = [...fingers.values()];
          const apart = (two) => Math.hypot(two[0][0] - two[1][0], two[0][1] - two[1][1]) || 1e-6;
          const middle = (two) => [(two[0][0] + two[1][0]) / 2, (two[0][1] + two[1][1]) / 2];
          const [from, to] = [middle(before), middle(now)];
          view.left += to[0] - from[0];
          view.top += to[1] - from[1];
          zoom(apart(now) / apart(before), ...to);
        }
      });
      const end = (event) => {
        fingers.delete(event.pointerId);
        if (!fingers.size) setTimeout(() => viewport.classList.remove("dragged"));
      };
      window.addEventListener("pointerup", end);
      window.addEventListener("pointercancel", end);
      // What was dragged was not clicked.
      viewport.addEventListener("click", (event) => {
        if (moved >= SLACK && event.detail > 0 && (view.scale > 1)) {
          event.stopPropagation();
          event.preventDefault();
        }
        moved = 0;
      }, true);
      viewport.addEventListener("dblclick", (event) => zoom(2, ...where(viewport, event)));
    });

    document.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.target instanceof Element && event.target.closest("input, select, textarea")) return;
      if (event.key === "+" || event.key === "=") zoom(1.5, ...middleOf());
      else if (event.key === "-") zoom(1 / 1.5, ...middleOf());
      else if (event.key === "0") { view.scale = 1; show(); } else return;
      event.preventDefault();
    });
    $("closer").addEventListener("click", () => zoom(1.5, ...middleOf()));
    $("farther").addEventListener("click", () => zoom(1 / 1.5, ...middleOf()));
    $("whole").addEventListener("click", () => { view.scale = 1; show(); });
    $("grid")?.addEventListener("change", () => { show(); askClass(); });
    $("class")?.addEventListener("input", askClass);
    new ResizeObserver(show).observe(viewports[0]);

    $("controls").hidden = $("explored").hidden = false;
    const named = /^#(\d+)-(\d+)-(\d+)$/.exec(location.hash);
    const grid = named ? grids.findIndex((one) => one.side === Number(named[1])) : -1;
    const cell = grid < 0 ? undefined : grids[grid].at.get(`${named[2] - 1},${named[3] - 1}`);
    show();
    reach();
    if (cell !== undefined) goTo(grid, cell);
    else panel.replaceChildren(make("p", { className: "hint", textContent: "Choose a cell: what it looks for, where it is in photographs, and which classes it speaks for, stand here." }));
  };
})();
