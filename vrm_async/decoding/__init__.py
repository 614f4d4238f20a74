"""From VRM's JSON to the models of `vrm_async.models`, and from models to request bodies."""
