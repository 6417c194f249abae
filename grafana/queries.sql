-- The queries of the panels. Grafana expands $__… and $site; build.py puts the reader's language for {language} and the
-- site's zone for {zone}. They read the schema `reporting` and nothing else.

-- name: sites
-- The choice at the top of each dashboard.
SELECT name_{language} AS __text, site AS __value FROM reporting.site ORDER BY 1

-- name: power_now
-- One number: the main meters.
SELECT sum(power_kw) AS value FROM reporting.meter WHERE site = '$site' AND use = 'main'

-- name: energy_today
-- Since local midnight, as far as the ledger reaches.
SELECT sum(quantity) AS value FROM reporting.meter_interval
 WHERE site = '$site' AND use = 'main' AND register = 'active_energy_import'
   AND starts_at >= date_trunc('day', now() AT TIME ZONE '{zone}') AT TIME ZONE '{zone}'

-- name: share_of_contract
-- Power now against the contract demand.
SELECT sum(m.power_kw) / max(s.contract_demand_kw) AS value
  FROM reporting.meter m JOIN reporting.site s USING (organisation, site)
 WHERE m.site = '$site' AND m.use = 'main'

-- name: outdoor
-- The newest outdoor temperature.
SELECT value FROM reporting.room_point WHERE site = '$site' AND role = 'oat' AND equipment LIKE 'climate-%'
 ORDER BY observed_at DESC NULLS LAST LIMIT 1

-- name: open_alarms
-- Alarms that somebody should look at.
SELECT count(*) AS value FROM reporting.alarm WHERE site = '$site' AND active AND suppression = 'none'

-- name: silent_devices
-- Devices that do not answer.
SELECT count(*) AS value FROM reporting.device WHERE site = '$site' AND state = 'offline'

-- name: main_power
-- The building's course.
SELECT $__timeGroup(observed_at, $__interval) AS time, name_{language} AS metric, avg(power_kw) AS value
  FROM reporting.meter_power WHERE site = '$site' AND use = 'main' AND $__timeFilter(observed_at)
 GROUP BY 1, 2 ORDER BY 1

-- name: floor_power
-- The floors' courses.
SELECT $__timeGroup(observed_at, $__interval) AS time, name_{language} AS metric, avg(power_kw) AS value
  FROM reporting.meter_power WHERE site = '$site' AND use = 'floor' AND $__timeFilter(observed_at)
 GROUP BY 1, 2 ORDER BY 1

-- name: tenant_today
-- Tenants' own meters since local midnight.
SELECT name_{language} AS name, sum(energy_kwh) AS value FROM reporting.tenant_interval
 WHERE site = '$site' AND starts_at >= date_trunc('day', now() AT TIME ZONE '{zone}') AT TIME ZONE '{zone}'
 GROUP BY 1 ORDER BY 2 DESC LIMIT 15

-- name: co2
-- Carbon dioxide by room.
SELECT $__timeGroup(observed_at, $__interval) AS time, name_{language} AS metric, avg(value) AS value
  FROM reporting.room_observation WHERE site = '$site' AND role = 'co2' AND $__timeFilter(observed_at)
 GROUP BY 1, 2 ORDER BY 1

-- name: temperature
-- Temperature by room.
SELECT $__timeGroup(observed_at, $__interval) AS time, name_{language} AS metric, avg(value) AS value
  FROM reporting.room_observation WHERE site = '$site' AND role = 'zone_temp' AND $__timeFilter(observed_at)
 GROUP BY 1, 2 ORDER BY 1

-- name: day_energy
-- The building by local day.
SELECT to_char(starts_at AT TIME ZONE '{zone}', 'YYYY-MM-DD') AS day, sum(quantity) AS "kWh"
  FROM reporting.meter_interval
 WHERE site = '$site' AND register = 'active_energy_import' AND use = 'main' AND $__timeFilter(starts_at)
 GROUP BY 1 ORDER BY 1

-- name: tenant_day_energy
-- Tenants by local day.
SELECT date_trunc('day', starts_at AT TIME ZONE '{zone}') AT TIME ZONE '{zone}' AS time, name_{language} AS metric,
       sum(energy_kwh) AS value
  FROM reporting.tenant_interval WHERE site = '$site' AND $__timeFilter(starts_at)
 GROUP BY 1, 2 ORDER BY 1

-- name: meter_energy
-- What each meter counted.
SELECT name_{language} AS name, sum(quantity) AS value FROM reporting.meter_interval
 WHERE site = '$site' AND register = 'active_energy_import' AND use <> 'main' AND $__timeFilter(starts_at)
 GROUP BY 1 ORDER BY 2 DESC LIMIT 25

-- name: balance
-- The main meter minus the meters right below it: losses, and what nobody measures.
SELECT i.starts_at AS time, sum(CASE WHEN i.use = 'main' THEN i.quantity ELSE -i.quantity END) AS value
  FROM reporting.meter_interval i
  JOIN reporting.meter m USING (organisation, site, meter)
  LEFT JOIN reporting.meter above ON above.site = m.site AND above.meter = m.parent
 WHERE i.site = '$site' AND i.register = 'active_energy_import' AND $__timeFilter(i.starts_at)
   AND (i.use = 'main' OR above.use = 'main')
 GROUP BY 1 ORDER BY 1

-- name: quality
-- How good the ledger is, by local day.
SELECT to_char(starts_at AT TIME ZONE '{zone}', 'YYYY-MM-DD') AS day,
       count(*) FILTER (WHERE quality = 'actual') AS actual, count(*) FILTER (WHERE quality = 'estimated') AS estimated,
       count(*) FILTER (WHERE quality = 'edited') AS edited, count(*) FILTER (WHERE quality = 'missing') AS missing
  FROM reporting.meter_interval WHERE site = '$site' AND register = 'active_energy_import' AND $__timeFilter(starts_at)
 GROUP BY 1 ORDER BY 1

-- name: doubtful
-- What a person should look at, before what needs no look.
SELECT starts_at, name_{language} AS meter, quantity, quality, method, reason FROM reporting.meter_interval
 WHERE site = '$site' AND register = 'active_energy_import' AND $__timeFilter(starts_at)
 ORDER BY quality = 'actual', starts_at DESC LIMIT 50

-- name: gateways
-- Heard means: within three heartbeats.
SELECT gateway, now() - last_seen_at < interval '30 seconds' AS heard, last_seen_at, clock_offset_ms, agent_version
  FROM reporting.gateway WHERE site = '$site' ORDER BY gateway

-- name: device_states
-- Devices by state.
SELECT state AS name, count(*) AS value FROM reporting.device WHERE site = '$site' GROUP BY 1 ORDER BY 1

-- name: devices
-- Those that do not answer first.
SELECT device, label, profile, bus, state, state_since, last_error FROM reporting.device WHERE site = '$site'
 ORDER BY state = 'online', state_since DESC LIMIT 50

-- name: stale_points
-- Points that were silent longest.
SELECT device, point, value, unit, observed_at FROM reporting.point WHERE site = '$site' AND observed_at IS NOT NULL
 ORDER BY observed_at LIMIT 50

-- name: alarms
-- Active, or not yet acknowledged.
SELECT severity, subject, rule, active, acknowledged, opened_at, cleared_at FROM reporting.alarm
 WHERE site = '$site' AND (active OR NOT acknowledged) ORDER BY severity, opened_at DESC LIMIT 100

-- name: alarms_per_day
-- How many began, by local day.
SELECT to_char(opened_at AT TIME ZONE '{zone}', 'YYYY-MM-DD') AS day,
       count(*) FILTER (WHERE severity = 1) AS critical, count(*) FILTER (WHERE severity = 2) AS high,
       count(*) FILTER (WHERE severity >= 3) AS other
  FROM reporting.alarm_occurrence WHERE site = '$site' AND $__timeFilter(opened_at)
 GROUP BY 1 ORDER BY 1

-- name: alarm_subjects
-- What alarms most often.
SELECT subject AS name, count(*) AS value FROM reporting.alarm_occurrence
 WHERE site = '$site' AND $__timeFilter(opened_at) GROUP BY 1 ORDER BY 2 DESC LIMIT 12

-- name: time_to_acknowledge
-- From the beginning to the acknowledgement, median, in seconds.
SELECT extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY acknowledged_at - opened_at)) AS value
  FROM reporting.alarm_occurrence WHERE site = '$site' AND acknowledged_at IS NOT NULL AND $__timeFilter(opened_at)
