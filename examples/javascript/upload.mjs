// Sends a file under a key: node upload.mjs FILE KEY. Prints which accounts have it.
//
// `upload` takes a Blob or a File, so that it also works in a browser: there the service has to name the page's origin
// in CORS_ORIGINS. A request that got no answer is sent again with the same Idempotency-Key: it is carried out once.

const TRIES = 5;

export async function upload(blob, key, { url = 'http://127.0.0.1:8000', token }) {
  const target = `${url}/files/${key.split('/').map(encodeURIComponent).join('/')}`;
  const headers = { Authorization: `Bearer ${token}`, 'Idempotency-Key': crypto.randomUUID() };
  for (let number = 0; ; number += 1) {
    const { status, answer, wait } = await send(target, headers, blob);
    if (status < 300 && status > 0) return answer;
    if (!answer.retryable || number === TRIES - 1) throw Object.assign(new Error(answer.detail), { status, answer });
    await new Promise((resolve) => setTimeout(resolve, 1000 * (wait || 2 ** number)));
  }
}

async function send(target, headers, body) {
  try {
    const response = await fetch(target, { method: 'PUT', headers, body });
    const wait = Number(response.headers.get('Retry-After') ?? 0);
    return { status: response.status, answer: await response.json(), wait };
  } catch (error) {
    return { status: 0, answer: { detail: `no answer: ${error.cause?.message ?? error.message}`, retryable: true }, wait: 0 };
  }
}

function show(accounts = {}) {
  for (const [name, { status, error }] of Object.entries(accounts)) {
    console.log(`  ${name}: ${status} ${error?.detail ?? ''}`.trimEnd());
  }
}

if (typeof process !== 'undefined' && process.argv[1] === (await import('node:url')).fileURLToPath(import.meta.url)) {
  const { openAsBlob } = await import('node:fs'); // reads the file as it is sent
  const [, , path, key] = process.argv;
  try {
    const receipt = await upload(await openAsBlob(path), key, { url: process.env.MENTUM_URL, token: process.env.MENTUM_TOKEN });
    console.log(receipt.status);
    show(receipt.accounts);
  } catch (error) {
    console.log(`${error.status ?? 0}: ${error.message}`);
    show(error.answer?.accounts);
    process.exitCode = 1;
  }
}
