-- When an attempt began: what another sender may still be sending is not sent again; and what was told last, by channel.

ALTER TABLE app.notification ADD COLUMN sending_since timestamptz;

CREATE INDEX notification_sent ON app.notification (channel_id, group_key, sent_at) WHERE state = 'sent';
