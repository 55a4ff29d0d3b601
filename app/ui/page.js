// What the page needs before and beside Gradio: the language in the address, light and dark, names for its signs, no
// foreign pictures, and messages as they were written when they are edited or copied.
// Runs in the document's head. Knows the address and the body's classes; knows no component.
(() => {
  // Pictures in a message could carry a conversation away; only our own may load.
  const policy = document.createElement("meta");
  policy.httpEquiv = "Content-Security-Policy";
  policy.content = "img-src 'self' data: blob:; media-src 'self' data: blob:; object-src 'none'; frame-src 'none'; form-action 'none'";
  document.head.appendChild(policy);

  // ?lang=ja leads to the page in that language.
  const wanted = (new URLSearchParams(location.search).get("lang") || "").split("-")[0];
  const root = new URL(document.baseURI).pathname;
  const here = document.documentElement;
  const part = location.pathname.slice(root.length).replace(/\/$/, "");
  const current = ["ja", "zh"].includes(part) ? part : "en";
  if (["en", "ja", "zh"].includes(wanted) && wanted !== current) {
    const query = new URLSearchParams(location.search);
    query.delete("lang");
    location.replace(root + (wanted === "en" ? "" : wanted) + (query.size ? "?" + query : ""));
  }
  here.lang = here.dataset.lang = current;

  // A language's link keeps the rest of the address, such as the recording that it names. Another page knows nothing of
  // this page's chat: where there is one, the link opens beside it.
  const keepQuery = (event) => {
    const link = event.target instanceof Element && event.target.closest(".languages a");
    if (!link) return;
    const query = new URLSearchParams(location.search);
    query.delete("lang");
    link.search = query;
    link.target = document.querySelector("#chat [data-testid=user]") ? "_blank" : "";
  };
  for (const kind of ["click", "auxclick"]) document.addEventListener(kind, keepQuery);

  const stored = () => {
    try {
      return localStorage.getItem("expertscope-theme");
    } catch {
      return null;
    }
  };
  // The server escapes messages (conversation.py); these are the entities that it writes.
  const plain = (text) => text.replace(/&#(038|060|033|091|042);/g, (_, code) => String.fromCharCode(Number(code)));
  const inChat = (element) => element instanceof Element && element.closest("#chat") !== null;

  new MutationObserver((changes) => {
    for (const change of changes) {
      for (const added of change.addedNodes) {
        const editor = inChat(added) && (added.matches("textarea") ? added : added.querySelector("textarea"));
        if (!editor || plain(editor.value) === editor.value) continue;
        editor.value = plain(editor.value);
        editor.dispatchEvent(new Event("input", { bubbles: true }));
      }
    }
  }).observe(document.documentElement, { childList: true, subtree: true });

  // N shows the next token, wherever the reader is, unless something is being written. The message box, left empty by
  // the message that is being answered, is no place where something is written.
  const writes = (target) => {
    const field = target instanceof Element && target.closest("textarea, select, [contenteditable], input:not([type=radio])");
    const answering = document.querySelector("#stop:not([disabled])") !== null;
    return field && !(field.closest("#box") && field.value === "" && answering);
  };
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "n" || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const button = document.getElementById("next-token");
    const there = here.classList.contains("presenting") ? button && !button.matches(".hide, .hidden") : button?.checkVisibility();
    if (!there || writes(event.target)) return;
    event.preventDefault();
    button.click();
  });

  // A tab that a visitor opens is seen: where less than half a window of it would be, its bar goes to the top. On a phone
  // a button leads to the experts.
  document.addEventListener("click", (event) => {
    if (!event.isTrusted || !(event.target instanceof Element) || here.classList.contains("presenting")) return;
    const jump = event.target.closest("#to-live button") !== null; // not smooth: the page may still grow while it would be on its way
    const shown = jump ? document.getElementById("live-column") : scope.opened(event.target);
    const instant = jump || matchMedia("(prefers-reduced-motion: reduce)").matches;
    shown?.scrollIntoView({ behavior: instant ? "instant" : "smooth", block: "start" });
  });

  const copyByHand = (text) => {
    const [field, focused] = [document.createElement("textarea"), document.activeElement];
    field.value = text;
    field.style.cssText = "position:fixed;opacity:0";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    focused?.focus({ preventScroll: true });
    return done;
  };

  // A message is copied as it was written. Without https the browser has no clipboard: one that copies by hand serves
  // Gradio's buttons and our own.
  let pressed = null;
  document.addEventListener("click", (event) => (pressed = event.target), true);
  const clipboard = navigator.clipboard ?? {};
  const write = clipboard.writeText?.bind(clipboard);
  clipboard.writeText = async (text) => {
    const said = inChat(pressed) ? plain(text) : text;
    if (write && (await write(said).then(() => true, () => false))) return;
    if (!copyByHand(said)) throw new Error("nothing was copied");
  };
  if (!write) Object.defineProperty(navigator, "clipboard", { value: clipboard });

  const copyAddress = (query) =>
    navigator.clipboard.writeText(location.origin + location.pathname + query).then(() => true, () => false);

  // When the system turns dark, Gradio turns the page, but the figures are drawn already: all stays as it was
  // until the page is loaded again.
  let look = null;
  const keep = () => look && document.body.classList.toggle("dark", look === "dark");

  const scope = (window.expertscope = {
    // The tabs, where `target` opens one of them of which less than half a window would be in sight; else null.
    opened(target) {
      const tabs = target.closest(".tab-wrapper button:not([aria-label])")?.closest(".tabs");
      if (tabs?.id !== "below") return null;
      return innerHeight - tabs.querySelector(".tab-wrapper").getBoundingClientRect().bottom < innerHeight / 2 ? tabs : null;
    },
    theme: () => (document.body.classList.contains("dark") ? "dark" : "light"),
    // Called once the page stands, with the names of buttons that show only a sign, by their ids. An explicit
    // ?__theme= wins, then the visitor's last choice, then the system.
    start(names) {
      for (const [id, name] of Object.entries(names)) {
        const button = document.getElementById(id);
        button?.setAttribute("aria-label", name);
        button?.setAttribute("title", name);
      }
      const asked = new URLSearchParams(location.search).get("__theme");
      const choice = asked === "dark" || asked === "light" ? asked : stored();
      if (choice) document.body.classList.toggle("dark", choice === "dark");
      if (!look) matchMedia("(prefers-color-scheme: dark)").addEventListener("change", keep);
      return (look = this.theme());
    },
    // The address of a recording that comes along, at the token shown where `here` is it; true once it is copied.
    async copyLink(trace, here = false) {
      const token = here ? window.__expertscope_live?.token : undefined;
      return copyAddress(`?trace=${encodeURI(trace)}${token >= 0 ? `&token=${token}` : ""}`);
    },
    // What the message box holds after a receipt of the chat (chat.py). What was written since the message was sent stays.
    boxAfter(receipt, written) {
      const { taken, back } = JSON.parse(receipt || "{}");
      if (taken !== undefined) return written === taken ? "" : written;
      return back === undefined ? written : [back, written.trim()].filter(Boolean).join("\n");
    },
    // The address of the two recordings that are compared: "copied" or "failed".
    async copyPair() {
      const pair = document.querySelector("#pair-facts [data-link]")?.dataset.link;
      return pair && (await copyAddress(`?compare=${encodeURI(pair)}`)) ? "copied" : "failed";
    },
    // The same for what the live view shows: "copied" or "failed".
    async copyShown() {
      const trace = document.querySelector(".turn-label")?.dataset.link;
      return trace && (await this.copyLink(trace, true)) ? "copied" : "failed";
    },
    toggle() {
      document.body.classList.toggle("dark");
      look = this.theme();
      try {
        localStorage.setItem("expertscope-theme", look);
      } catch {
        // private browsing: the choice lasts as long as the page
      }
      return look;
    },
  });
})();
