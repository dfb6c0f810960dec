"""Where documents, library and model meet: ingest, ask, next. Generators of events; nothing here prints."""
