"""From VRM's JSON to the models of `vrm_async.models`, and back for what is written."""
