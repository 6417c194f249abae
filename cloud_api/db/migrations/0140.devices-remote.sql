-- What the cloud asks of a gateway in its answer to a heartbeat: a site file to run with, and points to set.

-- The guard rails of a point that its site file allows to be set; NULL for all others.
ALTER TABLE app.point ADD COLUMN write_limits jsonb;

-- Every version of a site file that was offered to a gateway, and what became of it. Only the newest is offered.
CREATE TABLE app.gateway_configuration (
    gateway_id bigint NOT NULL REFERENCES app.gateway ON DELETE CASCADE,
    version integer NOT NULL CHECK (version > 0),
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    site_file text NOT NULL,
    state text NOT NULL DEFAULT 'offered'
        CHECK (state IN ('offered', 'trying', 'confirmed', 'refused', 'rolled_back', 'withdrawn')),
    problems text[] NOT NULL DEFAULT '{}',
    offered_by text NOT NULL,
    why text NOT NULL,
    offered_at timestamptz NOT NULL,
    settled_at timestamptz,
    PRIMARY KEY (gateway_id, version)
);
SELECT app.protect_by_organisation('app.gateway_configuration');

-- A point to be set. What waits past `expires_at` is not offered any more, so that a gateway which was away for hours
-- does not carry out what nobody wants any longer; a result that comes later is still taken.
CREATE TABLE app.device_command (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    gateway_id bigint NOT NULL REFERENCES app.gateway ON DELETE CASCADE,
    point_id bigint NOT NULL REFERENCES app.point ON DELETE CASCADE,
    value text NOT NULL,
    release_after_s integer CHECK (release_after_s > 0),
    made_by text NOT NULL,
    why text NOT NULL,
    made_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'done', 'refused', 'failed', 'withdrawn')),
    reason text NOT NULL DEFAULT '',
    shown double precision,
    finished_at timestamptz,
    released_at timestamptz
);
SELECT app.protect_by_organisation('app.device_command');
CREATE INDEX device_command_waiting ON app.device_command (gateway_id) WHERE state = 'waiting';
CREATE INDEX device_command_point ON app.device_command (point_id, id DESC);
