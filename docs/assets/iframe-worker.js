// Search on pages that are opened from the disk, where browsers refuse workers: the worker's script runs in a frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      const loaded = new Promise((resolve) => (this.started = resolve));
      this.postMessage = (data) =>
        loaded.then(() => frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
      const attach = () => {
        document.body.append(frame);
        const inside = frame.contentWindow;
        inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
        const load = (source) =>
          new Promise((resolve, reject) => {
            const script = inside.document.createElement("script");
            Object.assign(script, { src: source, onload: resolve, onerror: reject });
            inside.document.head.append(script);
          });
        inside.importScripts = (...sources) => sources.reduce((p, s) => p.then(() => load(s)), Promise.resolve());
        load(new URL(address, document.baseURI).href).then(this.started);
      };
      if (document.body) attach();
      else document.addEventListener("DOMContentLoaded", attach);
    }
    terminate() {}
  };
}
