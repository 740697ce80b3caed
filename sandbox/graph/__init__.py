"""The WhatsApp part of the Graph API, as its clients need it."""
