// Brings a file that the server wrote to the visitor: saves it under its name, as it is or, an SVG, as a PNG.
// Knows the courier component's value (view.py: parcel). Does not know what is in the file.

const SCALE = 2; // pixels of the PNG to one of the SVG

let last = "";

/** Save what a value of the component names; once, however often it is told. */
export async function take(parcel) {
  if (parcel.nonce === last) return;
  last = parcel.nonce;
  const url = new URL(parcel.file.url, location.href);
  const address = url.hostname === location.hostname ? location.origin + url.pathname : url.href;
  if (parcel.kind !== "png") save(address, parcel.name);
  else await savePng(address, parcel.name.replace(/\.svg$/, ".png"));
}

function save(url, name) {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
}

async function savePng(address, name) {
  const svg = await (await fetch(address)).text();
  const source = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
  try {
    const image = new Image();
    image.src = source;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth * SCALE;
    canvas.height = image.naturalHeight * SCALE;
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    const png = URL.createObjectURL(await new Promise((resolve) => canvas.toBlob(resolve, "image/png")));
    save(png, name);
    setTimeout(() => URL.revokeObjectURL(png), 60_000);
  } finally {
    URL.revokeObjectURL(source);
  }
}
