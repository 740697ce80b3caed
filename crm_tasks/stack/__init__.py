"""`crm up`: embedded Postgres and Valkey, and the supervisor of the Procfile. Knows no room of the CRM."""
