// A user with an official TypeScript client: the browser that it opens, what it keeps, and a record
// of all that it sends.

const loaders = {
  async sdk1() {
    const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
    const { StreamableHTTPClientTransport } =
      await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
    const { UnauthorizedError } = await import('@modelcontextprotocol/sdk/client/auth.js');
    return {
      StreamableHTTPClientTransport,
      UnauthorizedError,
      client: info => new Client(info),
      finish: (transport, answer) => transport.finishAuth(answer.get('code'))
    };
  },
  async sdk2(mode) {
    const { Client, StreamableHTTPClientTransport, UnauthorizedError } =
      await import('@modelcontextprotocol/client');
    return {
      StreamableHTTPClientTransport,
      UnauthorizedError,
      client: info => new Client(info, { versionNegotiation: { mode } }),
      finish: (transport, answer) => transport.finishAuth(answer)
    };
  }
};

const REDIRECT = 'http://localhost:33418/callback';

/** Follows an authorization request as a browser would; gives what the client is called back with. */
async function browse(url) {
  const cookies = new Map();
  while (!url.href.startsWith(REDIRECT)) {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const response = await fetch(url, { redirect: 'manual', headers: { cookie } });
    for (const set of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(set);
      if (value === '') cookies.delete(name);
      else cookies.set(name, value);
    }
    const location = response.headers.get('location');
    if (!location) throw new Error(`${url}: ${response.status} ${await response.text()}`);
    await response.body?.cancel();
    url = new URL(location, url);
  }
  return url.searchParams;
}

/** What a client keeps of one server and one user. */
class Storage {
  constructor(user, refreshes) {
    this.user = user;
    this.redirectUrl = REDIRECT;
    this.clientMetadata = {
      client_name: `the client of ${user}`,
      redirect_uris: [REDIRECT],
      grant_types: ['authorization_code', ...(refreshes ? ['refresh_token'] : [])],
      response_types: ['code'],
      token_endpoint_auth_method: 'none'
    };
  }

  clientInformation = () => this.registered;
  saveClientInformation = registered => void (this.registered = registered);
  tokens = () => this.obtained;
  saveTokens = tokens => void (this.obtained = tokens);
  codeVerifier = () => this.verifier;
  saveCodeVerifier = verifier => void (this.verifier = verifier);
  discoveryState = () => this.discovered;
  saveDiscoveryState = discovered => void (this.discovered = discovered);

  async redirectToAuthorization(url) {
    url.searchParams.set('login_hint', this.user);
    this.answer = await browse(url);
  }
}

/**
 * A user's connections through one variant of the SDK: 1 for its version 1.x, or the mode of version
 * 2.x. `refreshes` says whether the client registers for refresh tokens, and `hide` which URLs it is
 * told that there is nothing at.
 */
export async function userOf(variant, { user = 'alice', refreshes = true, hide } = {}) {
  const sdk = await (variant === '1' ? loaders.sdk1() : loaders.sdk2(variant));
  const storage = new Storage(user, refreshes);
  const exchanges = []; // { method, url, status, challenge, message } of each request, in order
  const recorded = async (target, init = {}) => {
    const url = new URL(target);
    const response = hide?.test(url.href)
      ? new Response('{}', { status: 404 })
      : await fetch(target, init);
    const json = new Headers(init.headers).get('content-type') === 'application/json';
    exchanges.push({
      method: init.method ?? 'GET',
      url: url.origin + url.pathname,
      status: response.status,
      challenge: response.headers.get('www-authenticate') ?? undefined,
      message: json ? JSON.parse(init.body) : undefined
    });
    return response;
  };

  /** Runs something that may need the user's consent first; then `again` is run. */
  async function consenting(transport, run, again = run) {
    try {
      return await run();
    } catch (error) {
      if (!(error instanceof sdk.UnauthorizedError)) throw error;
      await sdk.finish(transport, storage.answer);
      return again();
    }
  }

  return {
    storage,
    exchanges,
    async connect(url) {
      const transport = () =>
        new sdk.StreamableHTTPClientTransport(new URL(url), {
          authProvider: storage,
          fetch: recorded
        });
      const start = transport => {
        const client = sdk.client({ name: `oauth-${variant}`, version: '1.0.0' });
        return client.connect(transport).then(() => ({ client, transport }));
      };
      const first = transport();
      const connected = await consenting(
        first,
        () => start(first),
        () => start(transport())
      );
      const call = (name, args = {}) => connected.client.callTool({ name, arguments: args });
      return {
        ...connected,
        call: (name, args) => consenting(connected.transport, () => call(name, args)),
        async close() {
          if (connected.transport.sessionId) await connected.transport.terminateSession();
          await connected.client.close();
        }
      };
    }
  };
}
