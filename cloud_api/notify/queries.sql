-- name: enqueue
-- Put one message for one channel into the outbox; the same key again changes nothing, unless it had been taken back.
INSERT INTO notification (organisation_id, topic, transition, channel_id, fallback_channel_id, group_key, severity,
                          text_zh, text_en, created_at, due_at, repeat_minutes, route_id)
VALUES (%(organisation_id)s, %(topic)s, %(transition)s, %(channel_id)s, %(fallback_channel_id)s, %(group_key)s,
        %(severity)s, %(text_zh)s, %(text_en)s, %(created_at)s, %(due_at)s, %(repeat_minutes)s,
        %(route_id)s)
ON CONFLICT (topic, transition, channel_id) DO UPDATE
   SET state = 'waiting', due_at = EXCLUDED.due_at, text_zh = EXCLUDED.text_zh, text_en = EXCLUDED.text_en
 WHERE notification.state = 'cancelled';

-- name: cancel
-- What has not been sent need not be sent any more, but for a recovery; what was due by `kept_until`, or was tried, may
-- be kept.
UPDATE notification SET state = 'cancelled' WHERE topic = %(topic)s AND state = 'waiting' AND transition NOT LIKE 'cleared%%'
   AND (%(kept_until)s::timestamptz IS NULL OR (due_at > %(kept_until)s::timestamptz AND attempts = 0));

-- name: told
-- The channels that were told of a topic, or will be all the same.
SELECT DISTINCT ON (n.channel_id) n.channel_id, n.organisation_id, c.sends_recovery, r.id AS route_id, r.quiet_from,
       r.quiet_to, (SELECT count(*) FROM notification p WHERE p.topic = n.topic AND p.channel_id = n.channel_id
                       AND p.transition LIKE 'cleared%%') AS recoveries
  FROM notification n
  JOIN notification_channel c ON c.id = n.channel_id
  LEFT JOIN notification_route r ON r.id = n.route_id
 WHERE n.topic = %(topic)s AND n.state <> 'cancelled' AND n.transition NOT LIKE 'cleared%%'
 ORDER BY n.channel_id, n.id DESC;

-- name: cancel_recovery
-- It came back before anyone was told that it had gone.
UPDATE notification SET state = 'cancelled' WHERE topic = %(topic)s AND state = 'waiting' AND transition LIKE 'cleared%%';

-- name: last_word
-- What was said, or is about to be said, of a topic last.
SELECT transition FROM notification WHERE topic = %(topic)s AND state IN ('waiting', 'sending', 'sent')
 ORDER BY id DESC LIMIT 1;

-- name: due
-- What is due on working channels that nothing is being sent on, oldest first, locked; a group that was just told waits
-- for its interval.
SELECT n.* FROM notification n
  JOIN notification_channel c ON c.id = n.channel_id AND c.is_enabled
 WHERE n.state = 'waiting' AND n.due_at <= %(now)s AND n.channel_id <> ALL(%(busy)s::bigint[])
   AND (n.severity = 1 OR c.last_sent_at IS NULL OR n.transition = 'test'
        OR NOT EXISTS (SELECT 1 FROM notification s WHERE s.channel_id = n.channel_id AND s.group_key = n.group_key
                        AND s.state = 'sent' AND s.sent_at > %(now)s - %(group_interval)s))
 ORDER BY n.severity, n.due_at, n.id LIMIT 2000 FOR UPDATE OF n;

-- name: unsettled
-- Attempts that began long ago and whose outcome was never written: a crash lies between.
SELECT * FROM notification WHERE state = 'sending' AND channel_id <> ALL(%(busy)s::bigint[])
   AND (sending_since IS NULL OR sending_since <= %(before)s) ORDER BY id FOR UPDATE;

-- name: channels
-- The channels by id, locked: their tokens are spent by one sender.
SELECT * FROM notification_channel WHERE id = ANY(%(ids)s::bigint[]) ORDER BY id FOR UPDATE;

-- name: spend
-- Keep what is left of a channel's tokens.
UPDATE notification_channel SET tokens = %(tokens)s, tokens_at = %(now)s WHERE id = %(id)s;

-- name: begin_sending
-- Record the attempt before it is made.
UPDATE notification SET state = 'sending', message_key = %(message_key)s, attempts = attempts + 1,
       sending_since = %(now)s
 WHERE id = ANY(%(ids)s::bigint[]);

-- name: finish_sending
-- Record how an attempt ended; a failed one is due again later, or is given up.
UPDATE notification SET state = %(state)s, sent_at = %(sent_at)s, due_at = coalesce(%(due_at)s, due_at),
       message_key = CASE WHEN %(state)s = 'waiting' THEN NULL ELSE message_key END
 WHERE id = ANY(%(ids)s::bigint[]);

-- name: wake_for_channel
-- What became due while its channel was busy leaves now.
SELECT pg_notify('dispatch', '') WHERE EXISTS (
    SELECT FROM notification WHERE channel_id = %(id)s AND state = 'waiting' AND due_at <= %(now)s);

-- name: note_channel
-- Keep when a channel last worked, or why it did not.
UPDATE notification_channel SET last_sent_at = coalesce(%(sent_at)s, last_sent_at), last_error = %(error)s
 WHERE id = %(id)s;

-- name: log_delivery
-- Append to the delivery log.
INSERT INTO notification_delivery (organisation_id, channel_id, message_key, started_at, notification_count, title,
                                   outcome, detail)
VALUES (%(organisation_id)s, %(channel_id)s, %(message_key)s, %(started_at)s, %(count)s, %(title)s, %(outcome)s,
        %(detail)s);

-- name: become_sole_sender
-- One sender per database; others stand by.
SELECT pg_try_advisory_lock(7206144302) AS is_mine;

-- name: list_channels
-- All channels of the viewer's organisation.
SELECT id, name, address, language, per_minute, sends_recovery, is_enabled, last_sent_at, last_error
  FROM notification_channel ORDER BY name;

-- name: add_channel
-- A new channel.
INSERT INTO notification_channel (organisation_id, name, address, language, per_minute, sends_recovery, tokens)
VALUES (%(organisation_id)s, %(name)s, %(address)s, %(language)s, %(per_minute)s, %(sends_recovery)s, %(per_minute)s)
RETURNING id;

-- name: channel_by_id
-- One channel.
SELECT id, organisation_id, name FROM notification_channel WHERE id = %(id)s;

-- name: enable_channel
-- Switch a channel on or off.
UPDATE notification_channel SET is_enabled = %(is_enabled)s WHERE id = %(id)s RETURNING id;

-- name: deliveries
-- The newest lines of the delivery log.
SELECT d.started_at, c.name AS channel, d.title, d.notification_count, d.outcome, d.detail
  FROM notification_delivery d JOIN notification_channel c ON c.id = d.channel_id
 WHERE d.outcome <> 'started' ORDER BY d.id DESC LIMIT %(limit)s;

-- name: set_mail_sender
-- The address that letters leave from.
INSERT INTO mail_sender (organisation_id, address, changed_at, changed_by)
VALUES (%(organisation_id)s, %(address)s, %(at)s, %(actor)s)
    ON CONFLICT (organisation_id) DO UPDATE SET address = EXCLUDED.address, changed_at = EXCLUDED.changed_at,
        changed_by = EXCLUDED.changed_by;

-- name: mail_sender
-- The address that letters leave from.
SELECT address FROM mail_sender WHERE organisation_id = %(organisation_id)s;

-- name: add_letter
-- One letter per topic and recipient; the same again changes nothing.
INSERT INTO letter (organisation_id, tenant_id, topic, recipient, subject, body, bill_id, written_at)
VALUES (%(organisation_id)s, %(tenant_id)s, %(topic)s, %(recipient)s, %(subject)s, %(body)s, %(bill_id)s, %(at)s)
    ON CONFLICT (organisation_id, topic, recipient) DO NOTHING
RETURNING id;

-- name: claim_letter
-- The attempt is recorded before it is made; a letter that somebody is sending, or that was sent, is not taken again.
UPDATE letter SET state = 'sending', attempts = attempts + 1, tried_at = %(at)s
 WHERE id = %(id)s AND state = 'waiting' RETURNING *;

-- name: settle_letter
-- How the attempt ended.
UPDATE letter SET state = %(state)s, sent_at = %(sent_at)s, problem = %(problem)s WHERE id = %(id)s;

-- name: retry_letter
-- A person sends again what failed, or what broke off while it was being sent.
UPDATE letter SET state = 'waiting', problem = ''
 WHERE id = %(id)s AND (state = 'failed' OR (state = 'sending' AND tried_at < %(before)s)) RETURNING id;

-- name: letters
-- The newest letters of the organisation.
SELECT l.id, l.topic, l.recipient, l.subject, l.state, l.attempts, l.written_at, l.tried_at, l.sent_at, l.problem, l.bill_id,
       t.name_zh, t.name_en
  FROM letter l JOIN tenant t ON t.id = l.tenant_id
 WHERE l.organisation_id = %(organisation_id)s AND (%(tenant_id)s::bigint IS NULL OR l.tenant_id = %(tenant_id)s)
 ORDER BY l.id DESC LIMIT %(limit)s;
