-- What the host application knows of Sparkplug edge nodes. It lives here because several workers share one subscription:
-- a birth may reach one of them and the data after it another.
-- depends: 0100.telemetry-observations

-- A gateway that speaks Sparkplug: the session it is in, and the sequence number it said last.
CREATE TABLE app.sparkplug_node (
    gateway_id bigint PRIMARY KEY REFERENCES app.gateway ON DELETE CASCADE,
    bd_seq bigint NOT NULL DEFAULT -1,
    born_ms bigint NOT NULL DEFAULT 0,
    last_seq smallint,
    is_online boolean NOT NULL DEFAULT false,
    rebirth_asked_at timestamptz
);

-- What a birth of the node (device '') or of a device defined: name by alias. The last few are kept, because a message
-- delivered late is read by the birth that was valid when it was sent.
CREATE TABLE app.sparkplug_birth (
    gateway_id bigint NOT NULL REFERENCES app.gateway ON DELETE CASCADE,
    device text NOT NULL,
    born_ms bigint NOT NULL,
    aliases jsonb NOT NULL,
    PRIMARY KEY (gateway_id, device, born_ms)
);
