"""E-mail: making a message (`compose`, `render`, `plain`), handing it on (`smtp`, `gateway`), reading what comes back
(`dsn`), what reply codes mean (`codes`), and the link by which a person leaves (`unsubscribe`)."""
