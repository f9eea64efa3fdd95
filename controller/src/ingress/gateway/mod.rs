//! HTTP for functions that do not speak HTTP: API Gateway v2 events in, API Gateway v2 responses out.
//!
//! The shapes are those of `aws_lambda_events`, so handlers and fixtures written for AWS Lambda carry over.

mod event;
mod response;

pub(crate) use self::event::event;
pub(crate) use self::response::{content_type, response};
