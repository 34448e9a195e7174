// The quiz: one question after the other, by keys or by touch. What was answered stays in the browser.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("trials").textContent);
  const { images, trials, scales } = data;
  const SAVED = `featvis-quiz-${data.quiz}`;
  const [main, place, bar, help] = ["content", "place", "bar", "help"].map((id) => document.getElementById(id));
  const isTouch = matchMedia("(pointer: coarse)").matches;

  // What the page remembers. A browser may refuse storage to pages from disk; then it lasts as long as the page.
  const fresh = () => ({ rater: "", session: random(), started: "", ended: "", answers: [] });
  const random = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (one) => one.toString(16).padStart(2, "0")).join("");
  let isKept = true;
  const keep = () => {
    try { localStorage.setItem(SAVED, JSON.stringify(state)); } catch { isKept = false; }
  };
  const isWhole = (value, end) => Number.isInteger(value) && value >= 0 && value < end;
  const isAnswer = (answer, trial) => {
    if (answer?.item !== trial?.item || typeof answer.seconds !== "number") return false;
    if (trial.task === "naming") {
      const count = trial.count;
      return typeof answer.free === "string" && (answer.name === undefined || isWhole(answer.name, count));
    }
    if (trial.task === "choice") return isWhole(answer.photograph, 2);
    return scales.every((scale) => isWhole(answer.ratings?.[scale.key] - 1, 5));
  };
  const isWholeSession = (kept) =>
    ["rater", "session", "started", "ended"].every((name) => typeof kept?.[name] === "string")
    && Array.isArray(kept.answers) && kept.answers.length <= trials.length
    && kept.answers.every((answer, at) => isAnswer(answer, trials[at])
      && (at === kept.answers.length - 1 || trials[at].task !== "naming" || answer.name !== undefined));
  const restore = () => {
    try {
      const kept = JSON.parse(localStorage.getItem(SAVED));
      if (isWholeSession(kept)) return kept;
    } catch { /* refused, or damaged */ }
    return fresh();
  };
  let state = restore();

  // Elements
  const h = (tag, options = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(options)) {
      if (name === "on") for (const [event, act] of Object.entries(value)) made.addEventListener(event, act);
      else if (value === true) made.setAttribute(name, "");
      else if (value !== false && value !== undefined) made.setAttribute(name, value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  };
  const picture = (number, alt) => {
    const [source, height, width, coarse] = images[number];
    return h("img", { src: source, width, height, alt, class: coarse ? "coarse" : undefined });
  };
  const show = (...parts) => {
    main.replaceChildren(...parts);
    scrollTo(0, 0);
    const done = state.answers.filter((answer, at) => isDone(answer, trials[at])).length;
    bar.max = trials.length;
    bar.value = done;
    const asked = state.started && !state.ended;
    bar.hidden = !asked;
    place.textContent = asked ? `${Math.min(done + 1, trials.length)} of ${trials.length}` : "";
    document.getElementById("save-now").hidden = state.answers.length === 0;
  };
  const focusOn = (element) => element.focus({ preventScroll: true });

  const isDone = (answer, trial) => trial.task !== "naming" || answer.name !== undefined;
  // Names are written so that nobody reads them in the page's source before they are listed.
  const namesOf = (trial) =>
    JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(trial.names), (one) => one.charCodeAt(0))));

  // The questions
  let shownAt = 0;
  const elapsed = () => Math.round((performance.now() - shownAt) / 100) / 10;
  const next = () => {
    shownAt = performance.now();
    const last = state.answers.at(-1);
    if (last !== undefined && !isDone(last, trials[state.answers.length - 1])) {
      askName(trials[state.answers.length - 1], last);
    } else if (state.answers.length < trials.length) {
      const trial = trials[state.answers.length];
      ({ naming: askFree, choice: askPhotograph, rating: askRatings })[trial.task](trial);
    } else {
      if (!state.ended) state.ended = new Date().toISOString();
      keep();
      showEnd();
    }
  };
  const record = (answer) => {
    state.answers.push(answer);
    keep();
    next();
  };
  const warn = (form, text) => { form.querySelector(".told").textContent = text; };
  const question = (kind, title, left, right, submit) => {
    const heading = h("h2", { tabindex: "-1" }, title);
    const told = h("p", { class: "told", role: "alert" });
    const form = h("form", { class: `question ${kind}`, novalidate: true, autocomplete: "off" }, heading, left,
      h("div", {}, right, h("div", { class: "go" }, h("button", { type: "submit", class: "main" }, "Next")), told));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      submit(form);
    });
    show(form);
    focusOn(heading);
    return form;
  };
  const chosen = (form, name) => {
    const checked = form.querySelector(`input[name="${name}"]:checked`);
    return checked === null ? undefined : Number(checked.value);
  };
  const framed = (trial) => h("figure", { class: "picture" }, picture(trial.picture, "The picture that is asked about"));

  const askFree = (trial) => {
    let isSure = false;
    const input = h("input", {
      id: "free", class: "free", type: "text", maxlength: 200, autocomplete: "off", autocapitalize: "none",
      enterkeyhint: "next",
    });
    const form = question("naming", "What does this picture show?", framed(trial),
      h("div", {}, h("label", { for: "free", class: "over" }, "A word or two, in your own words"), input),
      (asked) => {
        const free = input.value.trim().replace(/\s+/g, " ");
        if (free === "" && !isSure) {
          isSure = true;
          warn(asked, "Write a name; or go on once more if you cannot tell.");
          return;
        }
        record({ item: trial.item, free, seconds: elapsed() });
      });
    input.addEventListener("input", () => { isSure = false; warn(form, ""); });
    if (!isTouch) focusOn(input);
  };

  const askName = (trial, answer) => {
    const options = namesOf(trial).map((name, at) =>
      h("label", { class: "option" }, h("input", { type: "radio", name: "name", value: at }),
        h("kbd", { "aria-hidden": "true" }, String(at + 1)), h("span", {}, name)));
    question("naming", "Which of these names is it?", framed(trial),
      h("div", {},
        h("p", { class: "said" }, answer.free === "" ? "You could not tell." : `You wrote: ${answer.free}`),
        h("fieldset", { class: "names", "data-keys": "choose" }, h("legend", { class: "hidden-text" }, "Names"), ...options)),
      (form) => {
        const name = chosen(form, "name");
        if (name === undefined) return warn(form, "Choose one of the names; guess if you must.");
        answer.name = name;
        answer.name_seconds = elapsed();
        keep();
        return next();
      });
  };

  const askPhotograph = (trial) => {
    const many = trial.references.length;
    const references = h("div", {},
      h("p", { class: "said" }, many === 1 ? "This excites one unit of a network strongly:" : "These excite one unit of a network strongly:"),
      h("div", { class: many === 1 ? "references one" : "references" },
        ...trial.references.map((one) => picture(one, "What excites the unit"))));
    const pair = trial.pair.map((one, at) =>
      h("label", { class: "option" }, h("span", { class: "frame" }, picture(one, "")),
        h("span", { class: "line" }, h("input", { type: "radio", name: "photograph", value: at }),
          h("span", {}, at === 0 ? "The left one" : "The right one"), h("kbd", { "aria-hidden": "true" }, String(at + 1)))));
    question("two", "Which photograph excites the same unit more?", references,
      h("fieldset", { class: "pair", "data-keys": "choose" }, h("legend", { class: "hidden-text" }, "Photographs"), ...pair),
      (form) => {
        const photograph = chosen(form, "photograph");
        if (photograph === undefined) return warn(form, "Choose one of the two; guess if you must.");
        return record({ item: trial.item, photograph, seconds: elapsed() });
      });
  };

  const askRatings = (trial) => {
    const groups = scales.map((scale) =>
      h("fieldset", { class: "scale", "data-keys": "rate" }, h("legend", {}, scale.question),
        h("div", { class: "marks" }, ...[1, 2, 3, 4, 5].map((mark) =>
          h("label", { class: "option" }, h("input", { type: "radio", name: scale.key, value: mark }), String(mark)))),
        h("p", { class: "ends" }, h("span", {}, `1: ${scale.low}`), h("span", {}, `5: ${scale.high}`))));
    const form = question("rating", "How does this picture look?", framed(trial), h("div", {}, ...groups), (asked) => {
      const ratings = Object.fromEntries(scales.map((scale) => [scale.key, chosen(asked, scale.key)]));
      const open = scales.findIndex((scale) => ratings[scale.key] === undefined);
      if (open >= 0) {
        warn(asked, "A mark on each of the scales, please.");
        return focusOn(groups[open].querySelector("input"));
      }
      return record({ item: trial.item, ratings, seconds: elapsed() });
    });
    const mark = (now) => groups.forEach((group) => group.classList.toggle("now", group === now));
    form.addEventListener("focusin", (event) => mark(event.target.closest(".scale")));
    mark(groups[0]);
  };

  // Keys
  const choose = (radio) => {
    radio.checked = true;
    focusOn(radio);
    warn(radio.form, "");
  };
  const rate = (form, mark) => {
    const groups = [...form.querySelectorAll(".scale")];
    const at = Math.max(0, groups.findIndex((group) => group.classList.contains("now")));
    const radio = groups[at].querySelectorAll("input")[mark - 1];
    if (radio === undefined) return;
    choose(radio);
    if (at + 1 < groups.length) focusOn(inputOf(groups[at + 1]));
    else focusOn(form.querySelector("button.main"));
  };
  const inputOf = (group) => group.querySelector("input:checked") ?? group.querySelector("input");
  const back = (form) => {
    const groups = [...form.querySelectorAll(".scale")];
    const now = groups.findIndex((group) => group.classList.contains("now"));
    const before = now < 0 ? groups.length - 1 : Math.max(0, now - 1);
    focusOn(inputOf(groups[before]));
  };
  const openHelp = () => { if (!help.open) help.showModal(); };
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || help.open) return;
    const at = event.target;
    const isTyping = at instanceof Element && at.matches("input[type=text], textarea");
    const isButton = at instanceof Element && at.closest("button, summary, a") !== null;
    if (event.key === "?" && !(isTyping && at.value !== "")) {
      event.preventDefault();
      openHelp();
      return;
    }
    const form = main.querySelector("form");
    if (isTyping || form === null) return;
    const choices = form.querySelector("[data-keys=choose]");
    const rates = form.querySelector("[data-keys=rate]");
    const digit = /^[1-9]$/.test(event.key) ? Number(event.key) : 0;
    if (event.key === "Enter" && !isButton) {
      event.preventDefault();
      // A key that is held down must not go through questions unread.
      if (!event.repeat) form.requestSubmit();
    } else if (digit && choices) {
      const radio = choices.querySelectorAll("input")[digit - 1];
      if (radio) choose(radio);
    } else if (digit && rates && !event.repeat) {
      rate(form, digit);
    } else if (event.key === "Backspace" && rates) {
      event.preventDefault();
      back(form);
    } else if (form.classList.contains("two") && ["ArrowLeft", "ArrowRight"].includes(event.key)) {
      event.preventDefault();
      choose(choices.querySelectorAll("input")[event.key === "ArrowLeft" ? 0 : 1]);
    }
  });

  // Answers leave the page as a file or by the clipboard, when their owner says so.
  const told = () => JSON.stringify({
    kind: "featvis quiz answers", version: 1, quiz: data.quiz,
    rater: state.rater, session: state.session, started: state.started, ended: state.ended,
    answers: state.answers,
  }, null, 1) + "\n";
  const fileName = () => {
    const slug = state.rater.normalize("NFKD").replace(/[^\w]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 40);
    return `answers-${data.quiz.slice(0, 6)}-${slug || state.session.slice(0, 8)}.json`;
  };
  const save = () => {
    const link = h("a", { href: URL.createObjectURL(new Blob([told()], { type: "application/json" })), download: fileName() });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };

  // Start and end
  const ABOUT = {
    naming: (count) => `${count} × name what a picture shows, freely, then choose from a list of names`,
    choice: (count) => `${count} × choose which of two photographs excites a unit more`,
    rating: (count) => `${count} × rate how a picture looks, on ${scales.length} scales`,
  };
  const showStart = () => {
    const begun = state.answers.length > 0;
    const kinds = [...new Set(trials.map((trial) => trial.task))];
    const title = h("h1", { tabindex: "-1" }, data.title);
    const input = h("input", { id: "rater", class: "free", type: "text", maxlength: 80, autocomplete: "nickname", enterkeyhint: "go" });
    input.value = state.rater;
    const form = h("form", { class: "start", novalidate: true }, title,
      data.text ? h("p", { class: "lede" }, data.text) : null,
      h("ol", {}, ...kinds.map((kind) => h("li", {}, ABOUT[kind](trials.filter((trial) => trial.task === kind).length)))),
      h("p", { class: "lede" }, "There is nothing to prepare and no right speed. Where you are not sure, guess. At the end you save a file with your answers and send it to whoever gave you this page."),
      h("div", { class: "field" }, h("label", { for: "rater" }, "Your name or any word"), input,
        h("p", { class: "help" }, "Tells your answers from other people's. Left empty, a random number does.")),
      h("div", { class: "go" }, h("button", { type: "submit", class: "main" }, begun ? "Go on where you were" : "Begin"),
        begun ? h("button", { type: "button", on: { click: again } }, "Begin anew") : null),
      begun ? h("p", { class: "help" }, `${state.answers.length} of ${trials.length} questions are answered in this browser.`) : null,
      isKept ? null : h("p", { class: "told" }, "This browser keeps nothing for this page: please answer in one go."));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      state.rater = input.value.trim().replace(/\s+/g, " ");
      if (!state.started) state.started = new Date().toISOString();
      keep();
      next();
    });
    show(form);
    if (!isTouch) focusOn(input);
  };
  const again = (event) => {
    if (event.target.dataset.sure === undefined) {
      event.target.dataset.sure = "";
      event.target.textContent = "Really? All answers here will be forgotten";
      return;
    }
    state = fresh();
    keep();
    showStart();
  };
  const say = (trial, answer) => {
    if (trial.task === "naming") {
      return h("li", {}, picture(trial.picture, ""), h("p", {}, answer.free || "could not tell"),
        h("p", { class: "faint" }, `from the list: ${namesOf(trial)[answer.name]}`));
    }
    if (trial.task === "choice") {
      return h("li", {}, picture(trial.pair[answer.photograph], ""), h("p", {}, `the ${answer.photograph ? "right" : "left"} one`));
    }
    return h("li", {}, picture(trial.picture, ""),
      ...scales.map((scale) => h("p", { class: "faint" }, `${scale.short}: ${answer.ratings[scale.key]}`)));
  };
  const showEnd = () => {
    const title = h("h1", { tabindex: "-1" }, "Thank you!");
    const status = h("p", { class: "told", role: "status" });
    const text = h("textarea", { id: "json", readonly: true, spellcheck: "false" });
    text.value = told();
    const details = h("details", {}, h("summary", {}, "The answers as text"),
      h("label", { for: "json", class: "hidden-text" }, "The answers as text"), text);
    const copy = async () => {
      try {
        await navigator.clipboard.writeText(told());
        status.textContent = "Copied.";
      } catch {
        details.open = true;
        text.select();
        const copied = document.execCommand("copy");
        status.textContent = copied ? "Copied." : "This browser copies nothing for this page: copy the text below.";
      }
    };
    const heads = { naming: "Named", choice: "Chosen", rating: "Rated" };
    const lists = [...new Set(trials.map((trial) => trial.task))].map((task) => {
      const mine = trials.map((trial, at) => [trial, state.answers[at]]).filter(([trial]) => trial.task === task);
      return h("section", {}, h("h2", {}, heads[task], h("span", { class: "count" }, String(mine.length))),
        h("ul", { class: "answered" }, ...mine.map(([trial, answer]) => say(trial, answer))));
    });
    show(title,
      h("p", { class: "lede" }, `All ${trials.length} questions are answered. Save the file and send it to whoever gave you this page; nothing has been sent yet.`),
      h("div", { class: "go" },
        h("button", { type: "button", class: "main", id: "save", on: { click: () => { save(); status.textContent = `Saved as ${fileName()}.`; } } }, "Save the answers"),
        h("button", { type: "button", id: "copy", on: { click: copy } }, "Copy to the clipboard"),
        h("button", { type: "button", on: { click: again } }, "Another person begins")),
      status, details, ...lists);
    focusOn(document.getElementById("save"));
  };

  document.addEventListener("DOMContentLoaded", () => {
    const ask = document.getElementById("ask");
    ask.hidden = false;
    ask.addEventListener("click", openHelp);
    document.getElementById("close-help").addEventListener("click", () => help.close());
    document.getElementById("save-now").addEventListener("click", save);
    addEventListener("beforeunload", (event) => { if (!isKept && state.answers.length && !state.ended) event.preventDefault(); });
    keep();
    state.ended ? showEnd() : showStart();
  });
})();
