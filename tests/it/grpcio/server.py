"""A gRPC provider with all four kinds of call, over bytes. Prints its port; ends when its standard input does."""

import sys
import threading
from concurrent import futures

import grpc

cancelled = threading.Event()


def unary(request, context):
    metadata = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-out", metadata.get("x-in", "")),))
    context.set_trailing_metadata((("x-last-bin", b"\x00\xff"),))
    return request


def server_stream(request, context):
    for number in range(3):
        yield request + str(number).encode()


def client_stream(requests, context):
    return b",".join(requests)


def bidirectional(requests, context):
    for request in requests:
        yield request


def fail(request, context):
    codes = {code.value[0]: code for code in grpc.StatusCode}
    context.abort(codes[int(request)], "d\u00e9tail 100 %")


def fail_late(request, context):
    yield b"first"
    context.abort(grpc.StatusCode.DATA_LOSS, "late")


def left(request, context):
    return str(context.time_remaining()).encode()


def wait(request, context):
    cancelled.clear()
    context.add_callback(cancelled.set)
    yield b"waiting"
    cancelled.wait(30)


def was_cancelled(request, context):
    return b"yes" if cancelled.wait(10) else b"no"


HANDLERS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Server": grpc.unary_stream_rpc_method_handler(server_stream),
    "Client": grpc.stream_unary_rpc_method_handler(client_stream),
    "Both": grpc.stream_stream_rpc_method_handler(bidirectional),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
    "Left": grpc.unary_unary_rpc_method_handler(left),
    "Wait": grpc.unary_stream_rpc_method_handler(wait),
    "WasCancelled": grpc.unary_unary_rpc_method_handler(was_cancelled),
}

server = grpc.server(futures.ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Calls", HANDLERS),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
sys.stdin.read()
server.stop(0)
