-- name: gaps
-- Silences that touch a period, the newest first: those that the ledger keeps, and those that last. What the gateway said
-- of that time is the cause; a gateway that is not heard may still have the values.
WITH found AS (
    SELECT g.register_id, g.silent_from, g.silent_to
      FROM register_gap g
     WHERE g.silent_to > %(start)s AND g.silent_from < %(end)s
    UNION ALL
    SELECT r.id, x.observed_at, NULL
      FROM register r
      JOIN meter m ON m.id = r.meter_id
     CROSS JOIN LATERAL (SELECT o.observed_at FROM exact_observation o
                          WHERE o.point_id = r.point_id AND o.mantissa IS NOT NULL AND o.quality <= 1
                            AND o.observed_at >= coalesce(lower(r.open_period), '-infinity')
                          ORDER BY o.observed_at DESC LIMIT 1) x
     WHERE upper_inf(r.open_period) AND x.observed_at < %(end)s
       AND %(now)s::timestamptz - x.observed_at > make_interval(secs => 60 * coalesce(
           m.gap_minutes, 1.5 * interval_minutes_at(m.id, x.observed_at))::double precision)
), shown AS (
    SELECT f.register_id, f.silent_from, f.silent_to, m.id AS meter_id, m.code, m.name_zh, m.name_en,
           r.quantity, r.unit, d.id AS device_id, d.name AS device, p.id AS point_id, g.id AS gateway_id, g.last_seen_at
      FROM found f
      JOIN register r ON r.id = f.register_id
      JOIN meter m ON m.id = r.meter_id
      JOIN point p ON p.id = r.point_id
      JOIN device d ON d.id = p.device_id
      JOIN gateway g ON g.id = d.gateway_id
     WHERE (%(meter_id)s::bigint IS NULL OR m.id = %(meter_id)s)
     ORDER BY f.silent_to IS NULL DESC, f.silent_from DESC, m.code, r.quantity
     LIMIT %(limit)s OFFSET %(offset)s
)
SELECT s.meter_id, s.register_id, s.code, s.name_zh, s.name_en, s.quantity, s.unit, s.device, s.silent_from, s.silent_to,
       CASE WHEN EXISTS (SELECT 1 FROM event e
                          WHERE e.device_id = s.device_id AND e.kind = 'device.state' AND e.data ->> 'state' = 'offline'
                            AND e.occurred_at BETWEEN s.silent_from AND coalesce(s.silent_to, %(now)s)) THEN 'offline'
            WHEN EXISTS (SELECT 1 FROM observation o
                          WHERE o.point_id = s.point_id AND o.observed_at > s.silent_from AND o.quality = 3
                            AND o.observed_at < coalesce(s.silent_to, %(now)s)) THEN 'offline'
            WHEN EXISTS (SELECT 1 FROM observation o
                          WHERE o.point_id = s.point_id AND o.observed_at > s.silent_from AND o.quality = 2
                            AND o.observed_at < coalesce(s.silent_to, %(now)s)) THEN 'invalid'
            WHEN EXISTS (SELECT 1 FROM event e
                          WHERE e.gateway_id = s.gateway_id AND e.kind = 'outbox.overflow' AND e.occurred_at
                                BETWEEN s.silent_from AND coalesce(s.silent_to, %(now)s) + interval '1 day') THEN 'lost'
            WHEN s.silent_to IS NULL AND (s.last_seen_at IS NULL
                                          OR s.last_seen_at < %(now)s::timestamptz - interval '1 minute') THEN 'waiting'
            ELSE 'unknown' END AS cause,
       i.estimated_count, i.edited_count, i.missing_count, i.estimated_quantity
  FROM shown s
 CROSS JOIN LATERAL (
       SELECT count(*) FILTER (WHERE i.quality = 'estimated') AS estimated_count,
              count(*) FILTER (WHERE i.quality = 'edited') AS edited_count,
              count(*) FILTER (WHERE i.quality = 'missing') AS missing_count,
              coalesce(sum(i.quantity) FILTER (WHERE i.quality = 'estimated'), 0) AS estimated_quantity
         FROM interval i
        WHERE i.register_id = s.register_id AND i.starts_at < coalesce(s.silent_to, %(now)s)
          AND i.starts_at > s.silent_from - interval '1 hour' AND i.ends_at > s.silent_from) i
 ORDER BY s.silent_to IS NULL DESC, s.silent_from DESC, s.code, s.quantity;

-- name: count_gaps
-- How many silences touch a period: those that are over.
SELECT count(*) AS count FROM register_gap g JOIN register r ON r.id = g.register_id
 WHERE g.silent_to > %(start)s AND g.silent_from < %(end)s
   AND (%(meter_id)s::bigint IS NULL OR r.meter_id = %(meter_id)s);
