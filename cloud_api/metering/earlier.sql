-- name: superseded_since
-- The value that each interval had at an instant, where it has another today or none.
SELECT register_id, extract(epoch FROM starts_at)::bigint AS start_s, quantity, quality FROM interval_revision
 WHERE register_id = ANY (%(register_id)s::bigint[]) AND starts_at >= %(start)s AND starts_at < %(end)s
   AND computed_at <= %(instant)s AND superseded_at > %(instant)s;

-- name: added_since
-- Intervals whose value of today is younger than the instant; those with an earlier value stand above as well.
SELECT register_id, extract(epoch FROM starts_at)::bigint AS start_s FROM interval
 WHERE register_id = ANY (%(register_id)s::bigint[]) AND starts_at >= %(start)s AND starts_at < %(end)s
   AND computed_at > %(instant)s;
