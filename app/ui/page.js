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

  const clipboard = navigator.clipboard;
  if (clipboard) {
    let pressed = null;
    document.addEventListener("click", (event) => (pressed = event.target), true);
    const write = clipboard.writeText.bind(clipboard);
    clipboard.writeText = (text) => write(inChat(pressed) ? plain(text) : text);
  }

  const copyByHand = (text) => {
    const field = document.createElement("textarea");
    field.value = text;
    field.style.cssText = "position:fixed;opacity:0";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  };

  window.expertscope = {
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
      return this.theme();
    },
    // The address of a recording that comes along, at the token shown where `here` is it; true once it is copied.
    async copyLink(trace, here = false) {
      const token = here ? window.__expertscope_live?.token : undefined;
      const query = `?trace=${encodeURI(trace)}${token >= 0 ? `&token=${token}` : ""}`;
      const link = location.origin + location.pathname + query;
      try {
        await navigator.clipboard.writeText(link);
        return true;
      } catch {
        return copyByHand(link); // no clipboard without https
      }
    },
    // The same for what the live view shows: "copied" or "failed".
    async copyShown() {
      const trace = document.querySelector(".turn-label")?.dataset.link;
      return trace && (await this.copyLink(trace, true)) ? "copied" : "failed";
    },
    toggle() {
      document.body.classList.toggle("dark");
      try {
        localStorage.setItem("expertscope-theme", this.theme());
      } catch {
        // private browsing: the choice lasts as long as the page
      }
      return this.theme();
    },
  };
})();
