// A photograph taken apart: choose a layer, what is shown, classes, a place, a group. Everything lies beside the page.
(() => {
  "use strict";

  const make = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };
  const number = (value) => {
    if (value === 0) return "0";
    const size = Math.abs(value);
    return (value < 0 ? "−" : "") + (size >= 100 ? size.toFixed(0) : size >= 1 ? size.toFixed(2) : size.toPrecision(2));
  };
  const paint = (element, file, place, columns, count) => {
    const rows = Math.max(1, Math.ceil(count / columns));
    element.style.backgroundImage = `url("${encodeURI(file)}")`;
    element.style.backgroundSize = `${columns * 100}% ${rows * 100}%`;
    element.style.backgroundPosition =
      `${columns > 1 ? ((place % columns) / (columns - 1)) * 100 : 0}% ${rows > 1 ? (Math.floor(place / columns) / (rows - 1)) * 100 : 0}%`;
  };

  window.featvisBlocks = (table) => {
    const { names, layers } = table;
    const $ = (id) => document.getElementById(id);
    let chosen = 0;
    let pinned = false;
    let group = null;
    let spots = [];

    const layer = () => layers[Number($("layer").value)];
    const asked = () => {
      const against = $("against")?.value ?? "";
      return [Number($("for").value), against === "" ? null : Number(against)];
    };
    // What is said for a class, or for it and against the other one.
    const said = (values) => {
      const [one, other] = asked();
      return values[one] - (other === null ? 0 : values[other]);
    };

    const build = () => {
      const { rows, columns } = layer();
      chosen = 0;
      group = null;
      const places = $("places");
      places.style.gridTemplate = `repeat(${rows}, minmax(0, 1fr)) / repeat(${columns}, minmax(0, 1fr))`;
      spots = Array.from({ length: rows * columns }, (_, place) => {
        const spot = make("button", { type: "button", className: "spot", tabIndex: place ? -1 : 0 }, make("i"));
        spot.setAttribute("aria-label", `Row ${Math.floor(place / columns) + 1}, column ${(place % columns) + 1}`);
        spot.setAttribute("aria-pressed", "false");
        spot.addEventListener("click", () => choose(place, true));
        spot.addEventListener("focus", () => choose(place, pinned));
        spot.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse" && !pinned) choose(place, false); });
        spot.addEventListener("keydown", (event) => walk(event, place));
        return spot;
      });
      places.replaceChildren(...spots);
      let best = 0;
      layer().magnitudes.forEach((value, place) => { if (value > layer().magnitudes[best]) best = place; });
      choose(best, false);
      drawGroups();
      draw();
    };

    const walk = (event, place) => {
      const { rows, columns } = layer();
      const ways = { ArrowUp: -columns, ArrowDown: columns, ArrowLeft: -1, ArrowRight: 1 };
      const way = ways[event.key];
      if (!way || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      const column = place % columns;
      if ((way === -1 && column === 0) || (way === 1 && column === columns - 1)) return;
      const next = place + way;
      if (next < 0 || next >= rows * columns) return;
      pinned = true;
      spots[next].focus();
    };

    // What stands at each place.
    const draw = () => {
      const one = layer();
      const view = $("view").value;
      const spoken = one.magnitudes.map((_, place) => said(one.spoken.map((row) => row[place])));
      const most = Math.max(...spoken.map(Math.abs)) || 1;
      const longest = Math.max(...one.magnitudes) || 1;
      const tops = one.groups.map((each) => Math.max(...each.map) || 1);
      $("places").parentElement.classList.toggle("veiled", view !== "photograph");
      spots.forEach((spot, place) => {
        const mark = spot.firstElementChild;
        mark.removeAttribute("style");
        let share = 0;
        if (view === "pictures" || view === "spoken") {
          share = view === "pictures" ? one.magnitudes[place] / longest : Math.max(0, spoken[place]) / most;
          paint(mark, one.sprite, place, one.spriteColumns, spots.length);
        } else if (view === "groups") {
          let which = group;
          if (which === null) {
            which = 0;
            one.groups.forEach((each, at) => { if (each.map[place] > one.groups[which].map[place]) which = at; });
          }
          if (one.groups.length) {
            share = one.groups[which].map[place] / (group === null ? Math.max(...tops) : tops[which]);
            mark.style.backgroundColor = one.groups[which].colour;
          }
        }
        // The area is what it stands for.
        const side = `${Math.sqrt(share) * 100}%`;
        mark.style.width = mark.style.height = side;
        mark.hidden = share <= 0;
      });
    };

    const choose = (place, pin) => {
      if (pin) pinned = true;
      spots[chosen]?.setAttribute("aria-pressed", "false");
      spots.forEach((spot) => { spot.tabIndex = -1; });
      chosen = place;
      spots[place].setAttribute("aria-pressed", "true");
      spots[place].tabIndex = 0;
      tell();
    };

    const tell = () => {
      const one = layer();
      const [target, other] = asked();
      const row = Math.floor(chosen / one.columns) + 1;
      const column = (chosen % one.columns) + 1;
      const values = one.spoken.map((each) => each[chosen]);
      const shown = make("span", { className: "tile" });
      shown.setAttribute("role", "img");
      shown.setAttribute("aria-label", "What is seen at this place");
      paint(shown, one.sprite, chosen, one.spriteColumns, spots.length);
      const whole = names[target] + (other === null ? "" : ` against ${names[other]}`);
      const parts = [
        make("h2", { textContent: `${one.layer}, row ${row}, column ${column}` }),
        make("p", { className: "told-place", textContent: `Activation of length ${number(one.magnitudes[chosen])}; it says ${number(said(values))} for ${whole}` }),
        shown,
      ];
      const units = one.units[chosen].map(([unit, activation, ...spoken]) => ({ unit, activation, spoken, value: said(spoken) }));
      const table = (title, list) => {
        if (!list.length) return;
        const head = make("tr", {}, ...["Unit", "Activation", `For ${names[target]}`, ...(other === null ? [] : [`For ${names[other]}`, "Difference"])].map(
          (text) => make("th", { textContent: text, scope: "col" })));
        const body = list.map(({ unit, activation, spoken, value }) => {
          const name = make("td", {}, `${one.layer}:${unit}`);
          const at = one.drawn.indexOf(unit);
          if (at >= 0) {
            const icon = make("span", { className: "icon" });
            paint(icon, one.icons, at, one.iconColumns, one.drawn.length);
            name.prepend(icon);
          }
          const cells = [activation, spoken[target], ...(other === null ? [] : [spoken[other], value])].map(
            (each) => make("td", { textContent: number(each) }));
          cells.at(-1).className = value >= 0 ? "for" : "against";
          return make("tr", {}, name, ...cells);
        });
        parts.push(make("h3", { textContent: title }), make("table", { className: "units" }, make("thead", {}, head), make("tbody", {}, ...body)));
      };
      const up = units.filter(({ value }) => value > 0).sort((a, b) => b.value - a.value).slice(0, 4);
      const down = units.filter(({ value }) => value < 0).sort((a, b) => a.value - b.value).slice(0, 4);
      table(`Units for ${whole}`, up);
      if (other !== null) table(`Units for ${names[other]} against ${names[target]}`, down);
      const held = one.groups.map((each, at) => [each.map[chosen], at]).filter(([value]) => value > 0).sort((a, b) => b[0] - a[0])[0];
      if (held) parts.push(make("p", { className: "told-place", textContent: `Mostly of group ${held[1] + 1}` }));
      $("panel").replaceChildren(...parts);
    };

    const drawGroups = () => {
      const one = layer();
      const [target, other] = asked();
      $("groups-section").hidden = !one.groups.length;
      $("groups-told").textContent = `By non-negative matrix factorization of this photograph's activations above 0, ${(one.explained * 100).toFixed(0)} % of whose squares they explain. Choose a group to see where it is.`;
      $("groups").replaceChildren(...one.groups.map((each, at) => {
        const tile = make("span", { className: "tile" });
        paint(tile, one.groupSprite, at, one.groupColumns, one.groups.length);
        const says = names[target] + (other === null ? "" : ` against ${names[other]}`);
        const button = make("button", { type: "button" }, tile, make("span", {},
          make("span", { className: "named", textContent: `Group ${at + 1}` }),
          make("span", { className: "said", textContent: `says ${number(said(each.contributions))} for ${says}` }),
          make("span", { className: "said", textContent: `units ${each.units.map(([unit]) => unit).join(", ")}` })));
        button.style.setProperty("--mark", each.colour);
        button.setAttribute("aria-pressed", String(group === at));
        button.addEventListener("click", () => {
          group = group === at ? null : at;
          $("view").value = "groups";
          [...$("groups").querySelectorAll("button")].forEach((other, place) => other.setAttribute("aria-pressed", String(group === place)));
          draw();
        });
        return make("li", {}, button);
      }));
    };

    $("layer").addEventListener("change", () => { pinned = false; build(); });
    $("view").addEventListener("change", draw);
    ["for", "against"].forEach((id) => $(id)?.addEventListener("change", () => { draw(); tell(); drawGroups(); }));
    $("controls").hidden = $("panel").hidden = false;
    build();
  };
})();
