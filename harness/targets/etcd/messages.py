"""The messages of etcd's gRPC interface that a client of one key needs.

The definitions are those of etcd's `api/etcdserverpb/rpc.proto` and `api/mvccpb/kv.proto`, with the
same numbers and types; fields that are not read here are left out, as protobuf allows. They are
made at import from this table, so that no generated code has to be kept. `etcdserverpb.KV` serves
Range, Put and Txn, `etcdserverpb.Maintenance` serves Status.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE: Final = "antipaxos.etcd"
"""Not etcd's own: another etcd client in the same process may have registered that one. Names of
packages are not sent."""

_NUMBERS: Final = {"bytes": 12, "string": 9, "bool": 8, "int64": 3, "uint64": 4, "int32": 5}
_MESSAGES: Final[dict[str, tuple[tuple[str, int, str], ...]]] = {
    "ResponseHeader": (
        ("cluster_id", 1, "uint64"),
        ("member_id", 2, "uint64"),
        ("revision", 3, "int64"),
        ("raft_term", 4, "uint64"),
    ),
    "KeyValue": (
        ("key", 1, "bytes"),
        ("create_revision", 2, "int64"),
        ("mod_revision", 3, "int64"),
        ("version", 4, "int64"),
        ("value", 5, "bytes"),
    ),
    "RangeRequest": (("key", 1, "bytes"), ("serializable", 7, "bool")),
    "RangeResponse": (("header", 1, "ResponseHeader"), ("kvs", 2, "*KeyValue")),
    "PutRequest": (("key", 1, "bytes"), ("value", 2, "bytes")),
    "PutResponse": (("header", 1, "ResponseHeader"),),
    "Compare": (
        ("result", 1, "int32"),
        ("target", 2, "int32"),
        ("key", 3, "bytes"),
        ("version", 4, "?int64"),
        ("value", 7, "?bytes"),
    ),
    "RequestOp": (("request_range", 1, "RangeRequest"), ("request_put", 2, "PutRequest")),
    "ResponseOp": (("response_range", 1, "RangeResponse"), ("response_put", 2, "PutResponse")),
    "TxnRequest": (
        ("compare", 1, "*Compare"),
        ("success", 2, "*RequestOp"),
        ("failure", 3, "*RequestOp"),
    ),
    "TxnResponse": (
        ("header", 1, "ResponseHeader"),
        ("succeeded", 2, "bool"),
        ("responses", 3, "*ResponseOp"),
    ),
    "StatusRequest": (),
    "StatusResponse": (
        ("header", 1, "ResponseHeader"),
        ("version", 2, "string"),
        ("leader", 4, "uint64"),
        ("raftIndex", 5, "uint64"),
        ("raftTerm", 6, "uint64"),
    ),
}
"""Name, number and type of each field; `*` is repeated, `?` has presence (a member of a oneof is
sent also where it holds its default). Enumerations are sent as int32."""
EQUAL: Final = 0
"""Compare.CompareResult"""
VERSION: Final = 0
VALUE: Final = 3
"""Compare.CompareTarget"""


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="antipaxos/etcd.proto", package=PACKAGE, syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind in fields:
            plain = kind.lstrip("*?")
            field = message.field.add(name=field_name, number=number, label=1)
            if kind.startswith("*"):
                field.label = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
            if kind.startswith("?"):
                field.proto3_optional = True
                field.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field_name}")
            if plain in _NUMBERS:
                field.type = descriptor_pb2.FieldDescriptorProto.Type.ValueType(_NUMBERS[plain])
            else:
                field.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
                field.type_name = f".{PACKAGE}.{plain}"
    return file


_POOL: Final = descriptor_pool.DescriptorPool()
_POOL.Add(_file())


def message_class(name: str) -> Any:
    """The class of a message: fields by keyword, SerializeToString, FromString."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


METHODS: Final = {
    "Range": ("/etcdserverpb.KV/Range", "RangeRequest", "RangeResponse"),
    "Put": ("/etcdserverpb.KV/Put", "PutRequest", "PutResponse"),
    "Txn": ("/etcdserverpb.KV/Txn", "TxnRequest", "TxnResponse"),
    "Status": ("/etcdserverpb.Maintenance/Status", "StatusRequest", "StatusResponse"),
}
"""Path, request and response of each method that is called."""
