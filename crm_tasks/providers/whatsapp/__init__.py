"""The WhatsApp Cloud API: what it sends us (`webhook`), what we send it (`client`), what its errors mean (`errors`)."""
