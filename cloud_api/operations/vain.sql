-- name: rejections
-- Observations and events that were refused for good, the newest first; the gateway brings row-level security.
SELECT g.id AS gateway_id, g.name AS gateway, r.seq, r.code, r.reason, r.content ->> 'point' AS point,
       coalesce(r.content ->> 'device', '') AS device, r.content ->> 'value' AS value,
       CASE WHEN r.code <> 'malformed' THEN to_timestamp((r.content ->> 'at_ms')::numeric / 1000) END AS observed_at,
       r.rejected_at
  FROM ingest_rejection r
  JOIN ingest_stream s ON s.id = r.stream_id
  JOIN gateway g ON g.id = s.gateway_id
 WHERE %(gateway_id)s::bigint IS NULL OR g.id = %(gateway_id)s
 ORDER BY r.rejected_at DESC, r.seq DESC
 LIMIT %(limit)s OFFSET %(offset)s;

-- name: failures
-- Sparkplug messages whose handling failed; an edge node is the gateway of its name (spBv1.0/group/kind/node/device).
SELECT g.id AS gateway_id, g.name AS gateway, f.failed_at, f.topic, f.reason, f.payload_bytes
  FROM sparkplug_failure f
  JOIN gateway g ON g.name = split_part(f.topic, '/', 4)
 WHERE %(gateway_id)s::bigint IS NULL OR g.id = %(gateway_id)s
 ORDER BY f.id DESC
 LIMIT %(limit)s;

-- name: counts
-- How many were ever refused, by gateway; of them only the newest are kept.
SELECT g.id AS gateway_id, g.name AS gateway, sum(s.rejected_count)::bigint AS rejected_count,
       (SELECT count(*) FROM ingest_rejection r JOIN ingest_stream x ON x.id = r.stream_id WHERE x.gateway_id = g.id)
           AS kept_count
  FROM gateway g
  JOIN ingest_stream s ON s.gateway_id = g.id
 GROUP BY g.id
HAVING sum(s.rejected_count) > 0
 ORDER BY rejected_count DESC, g.name;
