"""From the outbox to the cloud and back: message format, HTTPS, back-off."""
