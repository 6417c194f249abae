-- name: gateway_facts
-- Enabled gateways, what was heard of them and whether they still send what they had stored.
SELECT id, organisation_id, site_id, name, last_seen_at,
       CASE WHEN jsonb_typeof(health #> '{outbox,oldest_stored_at_ms}') = 'number'
            THEN to_timestamp((health #>> '{outbox,oldest_stored_at_ms}')::float8 / 1000) END AS waiting_since
  FROM gateway WHERE is_enabled;

-- name: device_facts
-- Devices in use with the word of their gateway and the instant of their newest observation.
SELECT d.id, d.organisation_id, g.site_id, d.gateway_id, d.name, coalesce(d.attributes ->> 'label_zh', d.label) AS label_zh,
       d.label AS label_en, d.bus, d.address, d.poll_s, d.timeout_s, d.state, d.state_since, d.last_error,
       newest.observed_at
  FROM device d
  JOIN gateway g ON g.id = d.gateway_id AND g.is_enabled
  LEFT JOIN LATERAL (SELECT max(v.observed_at) AS observed_at FROM point p JOIN latest_value v ON v.point_id = p.id
                      WHERE p.device_id = d.id) newest ON true
 WHERE d.retired_at IS NULL;

-- name: panel_facts
-- Feeders with the devices that meter them and everything behind them; of several that show the same devices, the one
-- nearest to them. A feeder with a single device says no more than that device.
WITH RECURSIVE behind AS (
    SELECT m.id AS panel_id, m.id AS meter_id FROM meter m
     WHERE m.utility = 'electricity' AND EXISTS (SELECT FROM meter c WHERE c.parent_meter_id = m.id)
    UNION
    SELECT b.panel_id, m.id FROM behind b JOIN meter m ON m.parent_meter_id = b.meter_id),
metered AS (
    SELECT b.panel_id, count(DISTINCT b.meter_id) AS meters,
           array_agg(DISTINCT d.id ORDER BY d.id) FILTER (WHERE d.id IS NOT NULL) AS device_ids
      FROM behind b
      LEFT JOIN register r ON r.meter_id = b.meter_id AND r.open_period @> %(now)s::timestamptz
      LEFT JOIN point p ON p.id = r.point_id
      LEFT JOIN device d ON d.id = p.device_id AND d.retired_at IS NULL
     GROUP BY b.panel_id)
SELECT DISTINCT ON (f.device_ids) m.id, m.organisation_id, m.site_id, m.code, m.name_zh, m.name_en, f.device_ids
  FROM metered f JOIN meter m ON m.id = f.panel_id
 WHERE cardinality(f.device_ids) > 1 ORDER BY f.device_ids, f.meters, m.id;

-- name: alarms_by_rules
-- All conditions of some rules, locked: the evaluator and a person's click take turns.
SELECT * FROM alarm WHERE rule = ANY(%(rules)s) ORDER BY id FOR UPDATE;

-- name: alarms_by_keys
-- The conditions named by (site, subject, rule), locked in one order.
SELECT a.* FROM alarm a
  JOIN unnest(%(sites)s::bigint[], %(subjects)s::text[], %(rules)s::text[]) AS k (site_id, subject, rule)
       ON a.site_id = k.site_id AND a.subject = k.subject AND a.rule = k.rule
 ORDER BY a.id FOR UPDATE OF a;

-- name: alarms_with_timer_due
-- Conditions whose next timer has ended, locked; bounded, the rest follows in the next turn. Those of limits have an
-- evaluator of their own, which knows how far their data are complete.
SELECT * FROM alarm WHERE next_timer_at <= %(now)s AND subject NOT LIKE 'point:%%'
 ORDER BY id LIMIT 1000 FOR UPDATE SKIP LOCKED;

-- name: alarm_for_change
-- One condition, locked for a person's action.
SELECT * FROM alarm WHERE id = %(id)s FOR UPDATE;

-- name: alarm_by_id
-- One condition, to be shown.
SELECT a.*, s.time_zone FROM alarm a JOIN site s ON s.id = a.site_id WHERE a.id = %(id)s;

-- name: insert_alarms
-- Conditions appear with their first fault; a second writer gets the same rows.
INSERT INTO alarm (organisation_id, site_id, subject, rule, severity, params)
SELECT * FROM unnest(%(organisations)s::bigint[], %(sites)s::bigint[], %(subjects)s::text[], %(rules)s::text[],
                     %(severities)s::smallint[], %(params)s::jsonb[])
ON CONFLICT (site_id, subject, rule) DO UPDATE SET severity = EXCLUDED.severity
RETURNING *;

-- name: store_state
-- The whole state of a condition; its row is locked by the caller.
UPDATE alarm SET params = %(params)s, severity = %(severity)s, verdict = %(verdict)s, fault_since = %(fault_since)s,
       ok_since = %(ok_since)s, active = %(active)s, acknowledged = %(acknowledged)s, latched = %(latched)s,
       suppression = %(suppression)s, suppressed_until = %(suppressed_until)s,
       suppression_reason = %(suppression_reason)s, occurrence = %(occurrence)s, opened_at = %(opened_at)s,
       cleared_at = %(cleared_at)s, annunciate_at = %(annunciate_at)s, is_annunciated = %(is_annunciated)s,
       acknowledged_at = %(acknowledged_at)s, next_timer_at = %(next_timer_at)s,
       policy = coalesce(%(policy)s, policy)
 WHERE id = %(id)s;

-- name: insert_journal
-- Append one line; routing is woken to look at it where someone may have to be told.
WITH line AS (
    INSERT INTO alarm_journal (organisation_id, alarm_id, occurrence, kind, at, recorded_at, actor, reason, detail)
    VALUES (%(organisation_id)s, %(alarm_id)s, %(occurrence)s, %(kind)s, %(at)s, %(recorded_at)s, %(actor)s, %(reason)s,
            %(detail)s) RETURNING id),
dispatched AS (
    INSERT INTO alarm_dispatch (journal_id, organisation_id)
    SELECT id, %(organisation_id)s FROM line WHERE %(is_dispatched)s RETURNING journal_id)
SELECT pg_notify('dispatch', '') FROM dispatched;

-- name: open_occurrence
-- A new occurrence below its condition.
INSERT INTO alarm_occurrence (organisation_id, alarm_id, occurrence, opened_at, detected_at, params)
VALUES (%(organisation_id)s, %(alarm_id)s, %(occurrence)s, %(at)s, %(recorded_at)s, %(params)s)
ON CONFLICT (alarm_id, occurrence) DO NOTHING;

-- name: mark_occurrence
-- Keep the instants of an occurrence; what is not named stays.
UPDATE alarm_occurrence SET
       annunciated_at = CASE WHEN %(kind)s IN ('annunciated', 'realarmed')
                             THEN coalesce(annunciated_at, %(at)s) ELSE annunciated_at END,
       acknowledged_at = CASE WHEN %(kind)s = 'acknowledged' THEN %(at)s ELSE acknowledged_at END,
       acknowledged_by = CASE WHEN %(kind)s = 'acknowledged' THEN %(actor)s ELSE acknowledged_by END,
       cleared_at = CASE %(kind)s WHEN 'cleared' THEN %(at)s WHEN 'reopened' THEN NULL ELSE cleared_at END,
       reopened_count = reopened_count + (%(kind)s = 'reopened')::int
 WHERE alarm_id = %(alarm_id)s AND occurrence = %(occurrence)s;

-- name: notify_live
-- Tell the pages that an alarm changed.
SELECT pg_notify('live', %(payload)s);

-- name: open_alarms
-- What someone still has to look at, worst and newest first; suppressed ones only on request.
SELECT a.*, s.time_zone FROM alarm a JOIN site s ON s.id = a.site_id
 WHERE (a.active OR a.latched OR NOT a.acknowledged)
   AND (%(with_suppressed)s OR a.suppression = 'none')
   AND (%(site_id)s::bigint IS NULL OR a.site_id = %(site_id)s)
   AND (%(organisation_id)s::bigint IS NULL OR a.organisation_id = %(organisation_id)s)
 ORDER BY a.active DESC, a.severity, a.opened_at DESC, a.id LIMIT %(limit)s;

-- name: open_counts
-- How many are open by severity, suppressed ones apart.
SELECT severity, count(*) FILTER (WHERE suppression = 'none') AS shown,
       count(*) FILTER (WHERE suppression <> 'none') AS suppressed
  FROM alarm WHERE active OR latched OR NOT acknowledged GROUP BY severity ORDER BY severity;

-- name: journal_of_alarm
-- The newest lines of one alarm's journal.
SELECT id, alarm_id, occurrence, kind, at, recorded_at, actor, reason, detail FROM alarm_journal
 WHERE alarm_id = %(alarm_id)s ORDER BY id DESC LIMIT %(limit)s;

-- name: occurrences_of_alarm
-- The newest occurrences of one alarm.
SELECT occurrence, opened_at, detected_at, annunciated_at, acknowledged_at, acknowledged_by, cleared_at, reopened_count
  FROM alarm_occurrence WHERE alarm_id = %(alarm_id)s AND NOT is_disproved ORDER BY opened_at DESC LIMIT %(limit)s;

-- name: become_sole_evaluator
-- One evaluator per database; a second one waits for this session to end.
SELECT pg_try_advisory_lock(7206144300) AS is_mine;

-- name: equipment_context
-- What an equipment serves: the tenants who lease those spaces on a day, and the floors.
SELECT e.id, e.code, e.name_zh, e.name_en, s.time_zone, s.currency,
       coalesce(array_agg(DISTINCT t.name_zh) FILTER (WHERE t.id IS NOT NULL), '{}') AS tenants_zh,
       coalesce(array_agg(DISTINCT t.name_en) FILTER (WHERE t.id IS NOT NULL), '{}') AS tenants_en,
       coalesce(array_agg(DISTINCT f.code) FILTER (WHERE f.id IS NOT NULL), '{}') AS floors
  FROM equipment e
  JOIN site s ON s.id = e.site_id
  LEFT JOIN equipment_serves v ON v.equipment_id = e.id
  LEFT JOIN space sp ON sp.id = v.space_id
  LEFT JOIN floor f ON f.id = sp.floor_id
  LEFT JOIN lease_space ls ON ls.space_id = sp.id AND ls.term @> %(day)s::date
  LEFT JOIN tenant t ON t.id = ls.tenant_id AND NOT t.is_owner
 WHERE e.id = ANY(%(ids)s::bigint[])
 GROUP BY e.id, s.time_zone, s.currency;

-- name: open_fault_alarms
-- Equipment alarms that are in fault, were so within the last hour, or are suppressed by design, locked.
SELECT * FROM alarm WHERE subject LIKE 'equipment:%%'
   AND (active OR suppression = 'by_design' OR cleared_at > %(now)s::timestamptz - interval '1 hour') ORDER BY id FOR UPDATE;

-- name: become_sole_fault_evaluator
-- One evaluator of fault rules per database.
SELECT pg_try_advisory_lock(7206144301) AS is_mine;

-- name: undispatched
-- Journal lines that routing has not seen, in order, with their alarm as it is now; an occurrence that is not the present
-- one has words of its own.
SELECT d.journal_id, j.kind, j.at, j.occurrence AS journal_occurrence, a.*, s.time_zone,
       CASE WHEN j.occurrence = a.occurrence THEN a.params ELSE coalesce(o.params, a.params) END AS params
  FROM alarm_dispatch d
  JOIN alarm_journal j ON j.id = d.journal_id
  JOIN alarm a ON a.id = j.alarm_id
  LEFT JOIN alarm_occurrence o ON o.alarm_id = j.alarm_id AND o.occurrence = j.occurrence
  JOIN site s ON s.id = a.site_id
 ORDER BY d.journal_id LIMIT 500 FOR UPDATE OF d SKIP LOCKED;

-- name: dispatched
-- Routing has seen these lines.
DELETE FROM alarm_dispatch WHERE journal_id = ANY(%(ids)s::bigint[]);

-- name: routes_for
-- The routes that an alarm takes, with the channel (a rota's present one), earliest step first.
SELECT r.id, r.after_minutes, r.quiet_from, r.quiet_to, r.repeat_minutes, r.fallback_channel_id, r.hours_from,
       r.hours_to, r.days,
       coalesce(r.channel_id, sh.channel_id) AS channel_id
  FROM notification_route r
  LEFT JOIN notification_shift sh ON sh.rota_id = r.rota_id AND sh.period @> %(now)s::timestamptz
 WHERE r.organisation_id = %(organisation_id)s AND (r.site_id IS NULL OR r.site_id = %(site_id)s)
   AND %(severity)s <= r.severity_max AND starts_with(%(rule)s, r.rule_prefix)
   AND coalesce(r.channel_id, sh.channel_id) IS NOT NULL
 ORDER BY r.after_minutes, r.id;

-- name: incident_is_told
-- Whether an open alarm of the same equipment, as severe, has been told on a channel: one incident, one message.
SELECT EXISTS (
    SELECT 1 FROM alarm a JOIN notification n ON n.topic = 'alarm:' || a.id || ':' || a.occurrence
     WHERE a.site_id = %(site_id)s AND a.subject = %(subject)s AND a.id <> %(id)s AND a.severity <= %(severity)s
       AND a.active AND a.suppression = 'none'
       AND n.channel_id = %(channel_id)s AND n.state IN ('waiting', 'sending', 'sent')) AS is_told;

-- name: due_repeats
-- Alarms that nobody has acknowledged since they were told last, longer ago than their route's repetition; whoever is on
-- call now is told, not who was. What a channel did not take is repeated as well.
SELECT n.organisation_id, n.topic, coalesce(sh.channel_id, n.channel_id) AS channel_id, n.fallback_channel_id,
       n.group_key, n.severity, n.repeat_minutes, n.route_id, r.quiet_from, r.quiet_to, s.time_zone,
       (array_agg(n.text_zh ORDER BY n.id))[1] AS text_zh, (array_agg(n.text_en ORDER BY n.id))[1] AS text_en,
       count(*) AS told_count
  FROM alarm a
  JOIN site s ON s.id = a.site_id
  JOIN notification n ON n.topic = 'alarm:' || a.id || ':' || a.occurrence AND n.transition NOT LIKE 'cleared%%'
  LEFT JOIN notification_route r ON r.id = n.route_id
  LEFT JOIN notification_shift sh ON sh.rota_id = r.rota_id AND sh.period @> %(now)s::timestamptz
 WHERE a.active AND NOT a.acknowledged AND a.suppression = 'none' AND n.repeat_minutes IS NOT NULL
 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
HAVING bool_and(n.state NOT IN ('waiting', 'sending')) AND bool_or(n.state IN ('sent', 'failed'))
   AND max(coalesce(n.sent_at, n.due_at)) FILTER (WHERE n.state IN ('sent', 'failed'))
       <= %(now)s - n.repeat_minutes * interval '1 minute'
 LIMIT 500;

-- name: list_routes
-- The routes of the viewer's organisation.
SELECT r.id, r.rule_prefix, r.severity_max, r.after_minutes, r.quiet_from, r.quiet_to, r.repeat_minutes,
       r.hours_from, r.hours_to, r.days, r.channel_id, r.rota_id, r.site_id, r.fallback_channel_id,
       c.name AS channel, o.name AS rota, f.name AS fallback, s.name_zh, s.name_en
  FROM notification_route r
  LEFT JOIN notification_channel c ON c.id = r.channel_id
  LEFT JOIN notification_rota o ON o.id = r.rota_id
  LEFT JOIN notification_channel f ON f.id = r.fallback_channel_id
  LEFT JOIN site s ON s.id = r.site_id
 ORDER BY r.after_minutes, r.id;

-- name: add_route
-- A new route.
INSERT INTO notification_route (organisation_id, site_id, rule_prefix, severity_max, channel_id, rota_id, after_minutes,
                                quiet_from, quiet_to, repeat_minutes, fallback_channel_id, hours_from, hours_to, days)
VALUES (%(organisation_id)s, %(site_id)s, %(rule_prefix)s, %(severity_max)s, %(channel_id)s, %(rota_id)s,
        %(after_minutes)s, %(quiet_from)s, %(quiet_to)s, %(repeat_minutes)s, %(fallback_channel_id)s, %(hours_from)s,
        %(hours_to)s, %(days)s)
RETURNING id;

-- name: remove_route
-- A route that is not wanted any more.
DELETE FROM notification_route WHERE id = %(id)s RETURNING id;

-- name: alarms_in_service
-- The conditions of a subject that are not out of service, locked.
SELECT * FROM alarm WHERE subject = %(subject)s AND suppression <> 'out_of_service' ORDER BY id FOR UPDATE;

-- name: alarms_out_of_service
-- The conditions of a subject that are out of service, locked.
SELECT * FROM alarm WHERE subject = %(subject)s AND suppression = 'out_of_service' ORDER BY id FOR UPDATE;

-- name: occurred
-- Occurrences announced in a period.
SELECT o.alarm_id, a.rule, a.subject, a.severity, o.annunciated_at AS at, o.acknowledged_at, o.cleared_at,
       o.reopened_count, a.params
  FROM alarm_occurrence o JOIN alarm a ON a.id = o.alarm_id
 WHERE o.annunciated_at >= %(start)s AND o.annunciated_at < %(end)s ORDER BY o.annunciated_at LIMIT %(limit)s;

-- name: priced
-- Occurrences with a price that lasted in some part of a period.
SELECT a.rule, a.subject, o.opened_at, o.cleared_at,
       CASE WHEN o.occurrence = a.occurrence THEN a.params ELSE o.params END AS params
  FROM alarm_occurrence o JOIN alarm a ON a.id = o.alarm_id
 WHERE NOT o.is_disproved AND o.opened_at < %(end)s AND (o.cleared_at IS NULL OR o.cleared_at > %(start)s)
   AND CASE WHEN o.occurrence = a.occurrence THEN a.params ELSE o.params END ? 'money_per_day'
 ORDER BY o.opened_at DESC LIMIT %(limit)s;

-- name: standing
-- Active alarms that opened before an instant.
SELECT id FROM alarm WHERE active AND suppression = 'none' AND opened_at < %(before)s;

-- name: limits
-- All limits with where their point hangs, its newest value and what their alarm says. While a process holds latest
-- values of the gateway, the newest observation counts: what was judged before must not be ahead of it.
SELECT l.*, d.gateway_id, g.site_id, coalesce(n.observed_at, v.observed_at) AS observed_at,
       CASE WHEN n.observed_at IS NULL THEN v.value ELSE n.value END AS latest,
       coalesce(n.quality, v.quality) AS quality, a.verdict, a.fault_since,
       coalesce(a.ok_since, a.cleared_at) AS ok_since, a.active
  FROM point_limit l
  JOIN point p ON p.id = l.point_id AND p.retired_at IS NULL
  JOIN device d ON d.id = p.device_id
  JOIN gateway g ON g.id = d.gateway_id
  LEFT JOIN latest_value v ON v.point_id = l.point_id
  LEFT JOIN LATERAL (
       SELECT o.observed_at, o.value, o.quality
         FROM observation o
        WHERE o.point_id = l.point_id AND o.observed_at > coalesce(v.observed_at, '-infinity')
          AND EXISTS (SELECT FROM ingest_stream s WHERE s.gateway_id = g.id AND s.latest_held_at IS NOT NULL)
        ORDER BY o.observed_at DESC
        LIMIT 1) n ON true
  LEFT JOIN alarm a ON a.site_id = g.site_id AND a.subject = 'point:' || l.point_id
       AND a.rule = CASE l.kind WHEN 'above' THEN 'PNT-01' WHEN 'below' THEN 'PNT-02' WHEN 'step' THEN 'PNT-03'
                    ELSE 'PNT-10' END || '/' || l.severity
 ORDER BY l.id LIMIT %(limit)s;

-- name: become_sole_limit_evaluator
-- One evaluator of limits per database; a second one takes over when this session ends.
SELECT pg_try_advisory_lock(7206144303) AS is_mine;

-- name: limit_timers_due
-- Alarms of limits whose next timer has ended, with how far the data of their gateway are complete: while it catches up
-- by more than a minute, up to the oldest observation that still waits there; else up to what it says it has sent. Only a
-- heartbeat that speaks of the outbox says anything.
SELECT a.*, d.gateway_id, CASE WHEN g.health ? 'outbox' THEN g.last_seen_at END AS last_seen_at,
       CASE WHEN jsonb_typeof(g.health #> '{outbox,oldest_stored_at_ms}') = 'number'
            THEN to_timestamp((g.health #>> '{outbox,oldest_stored_at_ms}')::float8 / 1000) END AS waiting_since
  FROM alarm a
  JOIN point p ON a.subject = 'point:' || p.id
  JOIN device d ON d.id = p.device_id
  JOIN gateway g ON g.id = d.gateway_id
 WHERE a.next_timer_at <= %(now)s AND a.subject LIKE 'point:%%' ORDER BY a.next_timer_at DESC LIMIT 2000 FOR UPDATE OF a;

-- name: points_described
-- What a limit's sentence says about its point: the device, the equipment it belongs to and whom that serves.
SELECT p.id AS point_id, p.name AS point, p.quantity, p.unit, d.name AS device,
       coalesce(d.attributes ->> 'label_zh', d.label) AS label_zh, d.label AS label_en, e.id AS equipment_id
  FROM point p
  JOIN device d ON d.id = p.device_id
  LEFT JOIN LATERAL (SELECT e.id FROM equipment_point b JOIN equipment e ON e.id = b.equipment_id
                      WHERE b.point_id = p.id ORDER BY e.id LIMIT 1) e ON true
 WHERE p.id = ANY(%(points)s::bigint[]);

-- name: note_late
-- Judge these limits again from an instant on; the note survives a crash.
UPDATE point_limit l SET late_from = least(l.late_from, n.late_from)
  FROM unnest(%(ids)s::bigint[], %(instants)s::timestamptz[]) AS n (id, late_from) WHERE l.id = n.id;

-- name: late_limits
-- The limits to judge again, longest waiting first; bounded, the rest follows.
SELECT id, late_from FROM point_limit WHERE late_from IS NOT NULL ORDER BY late_from LIMIT %(limit)s FOR UPDATE;

-- name: judged_again
-- Their late data count now.
UPDATE point_limit SET late_from = NULL WHERE id = ANY(%(ids)s::bigint[]);

-- name: point_history
-- The values of a point after an instant, in order, usable or not.
SELECT (extract(epoch FROM observed_at) * 1000)::bigint AS at_ms, coalesce(value, 'NaN') AS value, quality
  FROM observation WHERE point_id = %(point_id)s AND observed_at > %(start)s ORDER BY observed_at LIMIT %(limit)s;

-- name: point_before
-- The last values of a point up to an instant, newest first.
SELECT (extract(epoch FROM observed_at) * 1000)::bigint AS at_ms, coalesce(value, 'NaN') AS value, quality
  FROM observation WHERE point_id = %(point_id)s AND observed_at <= %(start)s AND observed_at > %(oldest)s
 ORDER BY observed_at DESC LIMIT %(limit)s;

-- name: metered_by_device
-- The meters that a device reads today, and the tenants whose spaces they serve.
SELECT m.id, m.code, m.name_zh, m.name_en,
       coalesce(array_agg(DISTINCT t.name_zh) FILTER (WHERE t.id IS NOT NULL), '{}') AS tenants_zh,
       coalesce(array_agg(DISTINCT t.name_en) FILTER (WHERE t.id IS NOT NULL), '{}') AS tenants_en
  FROM register r
  JOIN point p ON p.id = r.point_id AND p.device_id = %(device_id)s
  JOIN meter m ON m.id = r.meter_id
  LEFT JOIN meter_space x ON x.meter_id = m.id AND x.valid @> %(now)s::timestamptz
  LEFT JOIN lease_space l ON l.space_id = x.space_id AND l.term @> %(today)s::date
  LEFT JOIN tenant t ON t.id = l.tenant_id
 WHERE r.open_period @> %(now)s::timestamptz
 GROUP BY m.id ORDER BY m.code LIMIT 20;

-- name: occurrences_since
-- Occurrences that end after an instant, or have not ended.
SELECT occurrence, opened_at, cleared_at, reopened_count FROM alarm_occurrence
 WHERE alarm_id = %(alarm_id)s AND NOT is_disproved AND (cleared_at IS NULL OR cleared_at > %(since)s)
 ORDER BY opened_at;

-- name: correct_occurrence
-- Late data moved the bounds of an occurrence.
UPDATE alarm_occurrence SET opened_at = %(opened_at)s, cleared_at = %(cleared_at)s, reopened_count = %(reopened_count)s
 WHERE alarm_id = %(alarm_id)s AND occurrence = %(occurrence)s;

-- name: disprove_occurrence
-- Late data showed that the condition had not held for its delay.
UPDATE alarm_occurrence SET is_disproved = true WHERE alarm_id = %(alarm_id)s AND occurrence = %(occurrence)s;

-- name: number_below
-- The next number for an occurrence that is found out late.
SELECT least(min(occurrence), 0) - 1 FROM alarm_occurrence WHERE alarm_id = %(alarm_id)s;

-- name: set_limit
-- A point's limit of a kind and severity, new or changed; what was observed before counts as its state now.
INSERT INTO point_limit (organisation_id, point_id, kind, severity, value, clear_value, on_delay_s, off_delay_s,
                         is_latching, valid_from, set_by)
SELECT p.organisation_id, p.id, %(kind)s, %(severity)s, %(value)s, %(clear_value)s, %(on_delay_s)s, %(off_delay_s)s,
       %(is_latching)s, %(now)s, %(set_by)s
  FROM point p WHERE p.id = %(point_id)s
ON CONFLICT (point_id, kind, severity) DO UPDATE SET value = EXCLUDED.value, clear_value = EXCLUDED.clear_value,
       on_delay_s = EXCLUDED.on_delay_s, off_delay_s = EXCLUDED.off_delay_s, is_latching = EXCLUDED.is_latching,
       valid_from = EXCLUDED.valid_from, late_from = NULL, set_by = EXCLUDED.set_by
RETURNING id;

-- name: remove_limit
-- A limit that is not wanted any more; its alarm is ended by the caller.
DELETE FROM point_limit WHERE id = %(id)s RETURNING point_id, kind, severity;

-- name: tell_limits_changed
-- The evaluator reads the limits again.
SELECT pg_notify('limits', '');

-- name: list_limits
-- Limits with their points; of one point or of all.
SELECT l.id, l.point_id, l.kind, l.severity, l.value, l.clear_value, l.on_delay_s, l.off_delay_s, l.is_latching,
       l.valid_from, l.set_by, p.name AS point, p.quantity, p.unit, d.id AS device_id, d.name AS device, d.label
  FROM point_limit l
  JOIN point p ON p.id = l.point_id
  JOIN device d ON d.id = p.device_id
 WHERE %(point_id)s::bigint IS NULL OR l.point_id = %(point_id)s
 ORDER BY d.name, p.name, l.kind, l.severity LIMIT %(limit)s;

-- name: alarm_of_limit
-- The condition that a limit raised, locked.
SELECT a.* FROM alarm a WHERE a.subject = %(subject)s AND a.rule = %(rule)s FOR UPDATE;

-- name: save_rota
-- A rota by name; planning it anew keeps its id, so routes to it hold.
INSERT INTO notification_rota (organisation_id, name, handover_hour, turn_days, time_zone, holiday_channel_id)
VALUES (%(organisation_id)s, %(name)s, %(handover_hour)s, %(turn_days)s, %(time_zone)s, %(holiday_channel_id)s)
ON CONFLICT (organisation_id, name) DO UPDATE SET handover_hour = EXCLUDED.handover_hour,
       turn_days = EXCLUDED.turn_days, time_zone = EXCLUDED.time_zone, holiday_channel_id = EXCLUDED.holiday_channel_id
RETURNING id;

-- name: rota_by_id
-- One rota.
SELECT id FROM notification_rota WHERE id = %(id)s;

-- name: list_rotas
-- Rotas with who is on call now.
SELECT r.id, r.name, r.handover_hour, r.turn_days, r.time_zone, c.name AS on_call, upper(s.period) AS until,
       h.name AS holidays_by, (SELECT max(upper(p.period)) FROM notification_shift p WHERE p.rota_id = r.id) AS planned_until
  FROM notification_rota r
  LEFT JOIN notification_shift s ON s.rota_id = r.id AND s.period @> %(now)s::timestamptz
  LEFT JOIN notification_channel c ON c.id = s.channel_id
  LEFT JOIN notification_channel h ON h.id = r.holiday_channel_id
 ORDER BY r.name;

-- name: list_shifts
-- The present and coming shifts of a rota.
SELECT s.id, s.channel_id, c.name AS channel, lower(s.period) AS starts_at, upper(s.period) AS ends_at, s.handed_over_at
  FROM notification_shift s JOIN notification_channel c ON c.id = s.channel_id
 WHERE s.rota_id = %(rota_id)s AND upper(s.period) > %(now)s ORDER BY s.period LIMIT %(limit)s;

-- name: remove_rota
-- A rota that is not wanted any more, with its shifts and routes.
DELETE FROM notification_rota WHERE id = %(id)s RETURNING id;

-- name: take_shifts
-- Take away the shifts that meet a period; the caller writes back what remains of them.
DELETE FROM notification_shift
 WHERE rota_id = %(rota_id)s AND period && tstzrange(%(start)s, %(end)s)
RETURNING channel_id, lower(period) AS starts_at, upper(period) AS ends_at, handed_over_at;

-- name: add_shifts
-- Write shifts; the table refuses two people on call at once.
INSERT INTO notification_shift (organisation_id, rota_id, channel_id, period, handed_over_at)
SELECT r.organisation_id, r.id, t.channel_id, tstzrange(t.starts_at, t.ends_at), t.told
  FROM notification_rota r,
       unnest(%(channels)s::bigint[], %(starts)s::timestamptz[], %(ends)s::timestamptz[], %(told)s::timestamptz[])
       AS t (channel_id, starts_at, ends_at, told)
 WHERE r.id = %(rota_id)s;

-- name: shifts_begun
-- Shifts that have begun and whose channel has not been told, marked as told.
UPDATE notification_shift s SET handed_over_at = %(now)s
  FROM notification_rota r
 WHERE r.id = s.rota_id AND s.handed_over_at IS NULL AND s.period @> %(now)s::timestamptz
RETURNING s.id, s.organisation_id, s.channel_id, upper(s.period) AS ends_at, r.name, r.time_zone;

-- name: list_sites
-- The viewer's sites.
SELECT id, code, name_zh, name_en FROM site ORDER BY code;
