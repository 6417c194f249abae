-- name: find_gateway
-- An edge node is the gateway of its name, in whatever group; its row is held so that messages of one node follow
-- each other.
SELECT g.id, g.organisation_id, g.name FROM gateway g WHERE g.name = %(node)s;

-- name: lock_node
-- The state of an edge node, created when it is heard first.
INSERT INTO sparkplug_node AS n (gateway_id) VALUES (%(gateway_id)s)
ON CONFLICT (gateway_id) DO UPDATE SET gateway_id = EXCLUDED.gateway_id
RETURNING n.bd_seq, n.born_ms, n.last_seq, n.is_online, n.rebirth_asked_at;

-- name: update_node
-- After each message, in its transaction.
UPDATE sparkplug_node
   SET bd_seq = %(bd_seq)s, born_ms = %(born_ms)s, last_seq = %(last_seq)s, is_online = %(is_online)s,
       rebirth_asked_at = %(rebirth_asked_at)s
 WHERE gateway_id = %(gateway_id)s;

-- name: add_birth
-- A birth delivered twice says the same.
INSERT INTO sparkplug_birth (gateway_id, device, born_ms, aliases)
VALUES (%(gateway_id)s, %(device)s, %(born_ms)s, %(aliases)s)
ON CONFLICT (gateway_id, device, born_ms) DO UPDATE SET aliases = EXCLUDED.aliases;

-- name: forget_births
-- The newest eight stay.
DELETE FROM sparkplug_birth
 WHERE gateway_id = %(gateway_id)s AND device = %(device)s
   AND born_ms < (SELECT min(born_ms) FROM (SELECT born_ms FROM sparkplug_birth
                   WHERE gateway_id = %(gateway_id)s AND device = %(device)s ORDER BY born_ms DESC LIMIT 8) newest);

-- name: aliases_at
-- By the birth that was valid when the message was sent; for messages older than every birth, the first one after it.
SELECT aliases FROM sparkplug_birth
 WHERE gateway_id = %(gateway_id)s AND device = %(device)s
 ORDER BY born_ms > %(at_ms)s, CASE WHEN born_ms > %(at_ms)s THEN born_ms ELSE -born_ms END
 LIMIT 1;

-- name: device_ids
-- Every living device of the node.
SELECT name, id FROM device WHERE gateway_id = %(gateway_id)s AND retired_at IS NULL;

-- name: add_failure
-- A message that could not be handled, as it came.
INSERT INTO sparkplug_failure (failed_at, topic, reason, payload_bytes, payload)
VALUES (%(failed_at)s, %(topic)s, %(reason)s, %(payload_bytes)s, %(payload)s);

-- name: forget_failures
-- Only the newest stay; the count of a worker is in its log.
DELETE FROM sparkplug_failure WHERE id <= (SELECT max(id) FROM sparkplug_failure) - %(keep)s;

-- name: failures
-- Newest first.
SELECT failed_at, topic, reason, payload_bytes, payload FROM sparkplug_failure ORDER BY id DESC LIMIT %(limit)s;
