// What every page does, a quiz's too: theme, and keys that follow links. Without it the pages show everything all the same.
(() => {
  "use strict";
  const root = document.documentElement;
  const THEME = "featvis-theme";

  // A browser may refuse storage to pages from disk; then the choice lasts as long as the page.
  const remembered = () => {
    try { return localStorage.getItem(THEME); } catch { return null; }
  };
  const remember = (theme) => {
    try { localStorage.setItem(THEME, theme); } catch { /* refused */ }
  };
  const saved = remembered();
  if (saved === "dark" || saved === "light") root.dataset.theme = saved;

  const startTheme = () => {
    const button = document.getElementById("theme");
    const system = matchMedia("(prefers-color-scheme: dark)");
    const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
    // The button says what it does, not what is.
    const show = () => { button.firstChild.data = isDark() ? "Light" : "Dark"; };
    button.removeAttribute("aria-pressed");
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      remember(root.dataset.theme);
      show();
    });
    system.addEventListener("change", show);
    button.hidden = false;
    show();
  };

  const startKeys = () => {
    const ways = { ArrowLeft: "prev", ArrowRight: "next", u: "up", Escape: "up" };
    document.addEventListener("keydown", (event) => {
      if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      const at = event.target;
      if (at instanceof Element && at.closest("input, textarea, select, [contenteditable]")) return;
      if (document.querySelector("dialog[open]")) return;
      const link = ways[event.key] && document.querySelector(`a[rel="${ways[event.key]}"]`);
      if (link) {
        event.preventDefault();
        location.assign(link.href);
      }
    });
    const told = document.querySelector(".keys");
    told.hidden = told.textContent.trim() === "";
  };

  document.addEventListener("DOMContentLoaded", () => {
    startTheme();
    startKeys();
  });
})();
