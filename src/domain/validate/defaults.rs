//! What a field that is not set means: the numbers of the public contract, in one table.

use crate::api::duration::Duration;

const KI: u64 = 1 << 10;
const MI: u64 = 1 << 20;

pub const WEIGHT: u32 = 1;
pub const PRIORITY: u32 = 0;

pub const CONNECT: Duration = Duration::from_secs(5);
pub const ATTEMPT: Duration = Duration::from_secs(10);
pub const REQUEST: Duration = Duration::from_secs(30);
pub const IDLE: Duration = Duration::from_secs(90);

pub const RETRIES: u32 = 3;
pub const BACKOFF_BASE: Duration = Duration::from_millis(200);
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);
pub const RETRY_STATUSES: [u16; 6] = [408, 429, 500, 502, 503, 504];
/// What decides as UNAVAILABLE does, and what gRPC takes for it where an answer is none of gRPC's.
pub const GRPC_RETRY_STATUSES: [u16; 2] = [502, 503];
pub const GRAPHQL_DEPTH: u32 = 32;
pub const GRAPHQL_ALIASES: u32 = 100;
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
pub const BUDGET_PERCENT: u32 = 20;
pub const BUDGET_INTERVAL: Duration = Duration::from_secs(10);
pub const BUDGET_MINIMUM: u32 = 1;

pub const CONSECUTIVE_FAILURES: u32 = 5;
pub const FAILURE_PERCENT: u32 = 50;
pub const WINDOW: Duration = Duration::from_secs(30);
pub const MINIMUM_REQUESTS: u32 = 20;
pub const OPEN_FOR: Duration = Duration::from_secs(30);
pub const MAX_OPEN_FOR: Duration = Duration::from_secs(300);
pub const HALF_OPEN_REQUESTS: u32 = 1;

pub const RATE_INTERVAL: Duration = Duration::from_secs(1);
pub const RATE_BURST: u32 = 0;
pub const RATE_MAX_WAIT: Duration = Duration::from_secs(1);

pub const MAX_IN_FLIGHT: u32 = 64;
pub const MAX_PENDING: u32 = 256;
pub const ADAPTIVE_MINIMUM: u32 = 4;
pub const MAX_PER_ENDPOINT: u32 = 64;
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

pub const REQUEST_BODY: u64 = 10 * MI;
pub const RESPONSE_BODY: u64 = 100 * MI;
pub const HEADERS: u64 = 64 * KI;

pub const PROBE_INTERVAL: Duration = Duration::from_secs(30);
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
pub const UNHEALTHY_THRESHOLD: u32 = 3;
pub const HEALTHY_THRESHOLD: u32 = 1;
pub const PROBE_PATH: &str = "/";
pub const PROBE_STATUSES: (u16, u16) = (200, 299);
/// A probe that is a handshake is to open a connection.
pub const WEBSOCKET_STATUSES: (u16, u16) = (101, 101);
pub const USE_CREDENTIAL: bool = true;

pub const REPLICAS: u32 = 2;

pub const KEY_NAME: &str = "X-API-Key";
pub const USERNAME_KEY: &str = "username";
pub const PASSWORD_KEY: &str = "password";
