// The identity provider of the tests: oidc-provider, configured over standard input, on loopback.
//
//   node server.mjs DIRECTORY       (the one that holds node_modules)
//
// In: one line of JSON, { clients, tls: { cert, key } }. A client may have `publicKeys` and `certificates` in PEM,
// which become its JWKS. Out: one line of JSON, { issuer, tls }. It ends when standard input does.
//
// Besides what oidc-provider serves, `/control/...` says what no client is told: see `control`.

import * as crypto from 'node:crypto';
import * as http from 'node:http';
import * as https from 'node:https';
import * as readline from 'node:readline';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';

const packages = process.argv[2];
const load = (file) => import(pathToFileURL(join(packages, 'node_modules', file)));
const { default: Provider, errors } = await load('oidc-provider/lib/index.js');
const jose = await load('jose/dist/webapi/index.js');

const lines = readline.createInterface({ input: process.stdin });
const config = JSON.parse((await lines[Symbol.asyncIterator]().next()).value);
process.stdin.on('end', () => process.exit());

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ALGORITHMS = ['RS256', 'ES256', 'ES384', 'ES512', 'EdDSA'];

const listen = (server) => new Promise((done) => server.listen(0, '127.0.0.1', () => done(server.address().port)));
let handle;
const plain = http.createServer((request, response) => handle(request, response));
const secure = https.createServer(
  { ...config.tls, requestCert: true, rejectUnauthorized: false },
  (request, response) => handle(request, response),
);
const issuer = `http://127.0.0.1:${await listen(plain)}`;
const tls = `https://127.0.0.1:${await listen(secure)}`;

const keys = ({ publicKeys = [], certificates = [] }) => [
  ...publicKeys.map((pem) => crypto.createPublicKey(pem).export({ format: 'jwk' })),
  ...certificates.map((pem) => {
    const certificate = new crypto.X509Certificate(pem);
    return { ...certificate.publicKey.export({ format: 'jwk' }), x5c: [certificate.raw.toString('base64')] };
  }),
];

const clients = config.clients.map(({ publicKeys, certificates, ...client }) => ({
  redirect_uris: [],
  response_types: [],
  scope: 'read write openid offline_access',
  ...client,
  ...(publicKeys || certificates ? { jwks: { keys: keys({ publicKeys, certificates }) } } : {}),
}));

const provider = new Provider(issuer, {
  clients,
  scopes: ['read', 'write', 'admin', 'openid', 'offline_access'],
  clientAuthMethods: [
    'client_secret_basic',
    'client_secret_post',
    'private_key_jwt',
    'self_signed_tls_client_auth',
    'none',
  ],
  enabledJWA: { clientAuthSigningAlgValues: ALGORITHMS },
  rotateRefreshToken: true,
  ttl: { AccessToken: 600, ClientCredentials: 300, RefreshToken: 86400, Grant: 86400 },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  discovery: { mtls_endpoint_aliases: { token_endpoint: `${tls}/token` } },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    mTLS: {
      enabled: true,
      selfSignedTlsClientAuth: true,
      getCertificate: (ctx) => ctx.socket.getPeerX509Certificate?.(),
    },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_, resource) => ({ scope: 'read write', audience: resource, accessTokenFormat: 'opaque' }),
    },
  },
});

// What the grants of this file issue tokens for, which no model of the provider has a place for.
const reasons = new Map();

async function answer(ctx, scope, reason) {
  const token = new provider.ClientCredentials({ client: ctx.oidc.client, scope });
  const value = await token.save();
  reasons.set(value, reason);
  ctx.body = { access_token: value, token_type: 'Bearer', expires_in: token.expiration };
}

const seen = new Set();
provider.registerGrantType(
  JWT_BEARER,
  async (ctx) => {
    const { assertion, scope } = ctx.oidc.params;
    const keys = jose.createLocalJWKSet(ctx.oidc.client.metadata().jwks);
    let payload;
    try {
      ({ payload } = await jose.jwtVerify(assertion, keys, {
        algorithms: ALGORITHMS,
        issuer: ctx.oidc.client.clientId,
        audience: `${issuer}/token`,
        requiredClaims: ['sub', 'exp', 'iat', 'jti', 'scope'],
        maxTokenAge: '10 minutes',
      }));
      if (seen.has(payload.jti) || payload.scope !== scope) throw new Error('used before, or another scope');
      seen.add(payload.jti);
    } catch (error) {
      throw new errors.InvalidGrant(`not accepted: ${error.message}`);
    }
    await answer(ctx, scope, { subject: payload.sub });
  },
  ['assertion', 'scope'],
);
provider.registerGrantType(
  TOKEN_EXCHANGE,
  async (ctx) => {
    const { subject_token: subject, subject_token_type: type, scope, audience } = ctx.oidc.params;
    const found = await provider.ClientCredentials.find(subject);
    if (type !== 'urn:ietf:params:oauth:token-type:access_token') throw new errors.InvalidRequest('another type');
    if (!found) throw new errors.InvalidGrant('no such token');
    await answer(ctx, scope, { subject: found.clientId, audience });
    ctx.body.issued_token_type = type;
  },
  ['subject_token', 'subject_token_type', 'scope', 'audience'],
);

// GET /control/refresh?client=ID: a first refresh token, as if a person had consented; and its grant.
// GET /control/token?value=TOKEN: what the provider knows of an access token; null if it is none.
// GET /control/grant?id=ID: whether the grant is still there.
async function control(url) {
  const parameter = (name) => url.searchParams.get(name);
  switch (url.pathname) {
    case '/control/refresh': {
      const client = await provider.Client.find(parameter('client'));
      const grant = new provider.Grant({ clientId: client.clientId, accountId: 'someone' });
      grant.addOIDCScope('openid offline_access read');
      const grantId = await grant.save();
      const scope = 'openid offline_access read';
      const gty = 'authorization_code';
      const token = new provider.RefreshToken({ client, accountId: 'someone', grantId, scope, gty });
      return { token: await token.save(), grant: grantId };
    }
    case '/control/token': {
      const value = parameter('value');
      const found = (await provider.ClientCredentials.find(value)) ?? (await provider.AccessToken.find(value));
      if (!found) return null;
      const { clientId, scope, aud, accountId } = found;
      return { clientId, scope, aud, accountId, ...reasons.get(value) };
    }
    case '/control/grant':
      return { there: Boolean(await provider.Grant.find(parameter('id'))) };
    default:
      return { error: 'unknown' };
  }
}

const serve = provider.callback();
handle = async (request, response) => {
  const url = new URL(request.url, issuer);
  if (!url.pathname.startsWith('/control/')) return serve(request, response);
  const told = await control(url).catch((error) => ({ error: String(error) }));
  response.writeHead(200, { 'content-type': 'application/json' });
  return response.end(JSON.stringify(told));
};
console.log(JSON.stringify({ issuer, tls }));
