// What the page needs before and beside Gradio: the language in the address, light and dark, and no foreign pictures.
// Runs in the document's head. Knows the address and the body's classes; knows no component.
(() => {
  // Pictures in a message could carry a conversation away; only our own may load.
  const policy = document.createElement("meta");
  policy.httpEquiv = "Content-Security-Policy";
  policy.content = "img-src 'self' data: blob:; media-src 'self' data: blob:; object-src 'none'; frame-src 'none'";
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
  window.expertscope = {
    theme: () => (document.body.classList.contains("dark") ? "dark" : "light"),
    // Called once the page stands: an explicit ?__theme= wins, then the visitor's last choice, then the system.
    start() {
      const asked = new URLSearchParams(location.search).get("__theme");
      const choice = asked === "dark" || asked === "light" ? asked : stored();
      if (choice) document.body.classList.toggle("dark", choice === "dark");
      return this.theme();
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
