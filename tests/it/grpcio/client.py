"""Calls of all four kinds to `api` at the address given; ends with an error at the first that is not as it should be."""

import queue
import sys

import grpc

channel = grpc.insecure_channel(sys.argv[1], options=[("grpc.default_authority", "api"), ("grpc.enable_http_proxy", 0)])


def path(name):
    return "/test.Calls/" + name


def refused(call):
    try:
        result = call()
        result = result if isinstance(result, bytes) else list(result)
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"answered {result!r}")


unary = channel.unary_unary(path("Unary"))
answer, call = unary.with_call(b"hello", metadata=(("x-in", "metadata"),), timeout=10)
assert answer == b"hello"
assert ("x-out", "metadata") in [tuple(pair) for pair in call.initial_metadata()], call.initial_metadata()
assert ("tidegate-endpoint", "e0") in [tuple(pair) for pair in call.initial_metadata()]
assert ("x-last-bin", b"\x00\xff") in [tuple(pair) for pair in call.trailing_metadata()], call.trailing_metadata()
large = b"x" * (3 << 20)
assert unary(large, timeout=20) == large

assert list(channel.unary_stream(path("Server"))(b"n", timeout=10)) == [b"n0", b"n1", b"n2"]
assert channel.stream_unary(path("Client"))(iter([b"a", b"b", b"c"]), timeout=10) == b"a,b,c"

# Each message is sent when the one before it has come back: nothing waits for more.
outgoing = queue.Queue()
answers = channel.stream_stream(path("Both"))(iter(outgoing.get, None), timeout=20)
for number in range(20):
    outgoing.put(str(number).encode())
    assert next(answers) == str(number).encode()
outgoing.put(None)
assert list(answers) == []
assert answers.code() == grpc.StatusCode.OK

for code in grpc.StatusCode:
    # Failures in a row would open the circuit; an answer in between keeps it closed.
    if code != grpc.StatusCode.OK:
        error = refused(lambda: channel.unary_unary(path("Fail"))(str(code.value[0]).encode(), timeout=10))
        assert (error.code(), error.details()) == (code, "d\u00e9tail 100 %"), error
        assert unary(b"", timeout=10) == b""

late = channel.unary_stream(path("FailLate"))(b"", timeout=10)
assert next(late) == b"first"
assert refused(lambda: late).code() == grpc.StatusCode.DATA_LOSS

left = float(channel.unary_unary(path("Left"))(b"", timeout=7))
assert 1 < left <= 7.1, left
assert refused(lambda: channel.unary_stream(path("Wait"))(b"", timeout=0.3)).code() == grpc.StatusCode.DEADLINE_EXCEEDED
assert channel.unary_unary(path("WasCancelled"))(b"", timeout=15) == b"yes"

stream = channel.unary_stream(path("Wait"))(b"", timeout=30)
assert next(stream) == b"waiting"
stream.cancel()
assert refused(lambda: stream).code() == grpc.StatusCode.CANCELLED

missing = refused(lambda: channel.unary_unary(path("Missing"))(b"", timeout=10))
assert missing.code() == grpc.StatusCode.UNIMPLEMENTED

other = grpc.insecure_channel(sys.argv[1], options=[("grpc.default_authority", "nobody"), ("grpc.enable_http_proxy", 0)])
unknown = refused(lambda: other.unary_unary(path("Unary"))(b"", timeout=10))
assert unknown.code() == grpc.StatusCode.NOT_FOUND, unknown
assert ("tidegate-error", "unknown-integration") in [tuple(pair) for pair in unknown.trailing_metadata()]
print("all as it should be")
