"""Runs under pysparkplug's own environment: a host that reads everything, or an edge node that publishes.

host PORT           prints one JSON object per message of spBv1.0/#; a line `rebirth GROUP NODE` on standard input asks
                    for a rebirth, a line `state HOST true|false MS` publishes the host's state
edge PORT           an edge node `plant/line-1` with a device `press`; a line `VALUE` on standard input publishes it
"""

import json
import sys
import threading

import paho.mqtt.client as mqtt
import pysparkplug as spb


def say(**content):
    print(json.dumps(content), flush=True)


def host(port):
    births = {}
    client = mqtt.Client(client_id="peer-host")

    def on_message(_client, _userdata, message):
        parts = message.topic.split("/")
        if parts[1] == "STATE":
            return
        kind, node = parts[2], parts[3]
        device = parts[4] if len(parts) > 4 else None
        try:
            cls = {
                "NBIRTH": spb.NBirth,
                "DBIRTH": spb.DBirth,
                "NDATA": spb.NData,
                "DDATA": spb.DData,
                "NDEATH": spb.NDeath,
                "DDEATH": spb.DDeath,
                "NCMD": spb.NCmd,
            }[kind]
            payload = cls.decode(message.payload, birth=births.get((node, device)))
            if kind in ("NBIRTH", "DBIRTH"):
                births[node, device] = payload
            say(
                kind=kind,
                node=node,
                device=device,
                seq=getattr(payload, "seq", None),
                qos=message.qos,
                retain=message.retain,
                timestamp=getattr(payload, "timestamp", None),
                bd_seq=getattr(getattr(payload, "bd_seq_metric", None), "value", None),
                metrics=[
                    {
                        "name": m.name,
                        "alias": m.alias,
                        "value": m.value,
                        "at_ms": m.timestamp,
                        "is_historical": m.is_historical,
                        "type": m.datatype.name,
                    }
                    for m in getattr(payload, "metrics", ())
                ],
            )
        except Exception as error:  # noqa: BLE001  # Whatever it is, the test must see it.
            say(kind=kind, node=node, device=device, error=repr(error))

    client.on_message = on_message
    client.on_connect = lambda *_: client.subscribe("spBv1.0/#", 1)
    client.on_subscribe = lambda *_: say(kind="ready")
    client.connect("127.0.0.1", port)
    client.loop_start()
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "rebirth":
            group, node = rest
            metric = spb.Metric(timestamp=1, name="Node Control/Rebirth", datatype=spb.DataType.BOOLEAN, value=True)
            payload = spb.NCmd(timestamp=1, metrics=(metric,))
            client.publish(f"spBv1.0/{group}/NCMD/{node}", payload.encode(include_dtypes=True), qos=0)
        if word == "state":
            name, online, at_ms = rest
            body = json.dumps({"online": online == "true", "timestamp": int(at_ms)})
            client.publish(f"spBv1.0/STATE/{name}", body, qos=1, retain=True)


def edge(port):
    def metric(value):
        return spb.Metric(
            timestamp=spb.get_current_timestamp(), name="energy", datatype=spb.DataType.DOUBLE, value=value
        )

    def count(value):
        return spb.Metric(timestamp=spb.get_current_timestamp(), name="count", datatype=spb.DataType.INT64, value=value)

    node = spb.EdgeNode(group_id="plant", edge_node_id="line-1", metrics=())
    device = spb.Device(device_id="press", metrics=(metric(0.0), count(0)))
    node.register(device)
    node.connect("127.0.0.1", port=port)
    say(kind="ready")
    for line in sys.stdin:
        value = float(line)
        node.update_device("press", (metric(value), count(-int(value))))
        say(kind="sent")


if __name__ == "__main__":
    threading.current_thread().name = "peer"
    {"host": host, "edge": edge}[sys.argv[1]](int(sys.argv[2]))
