//! Calling an http guest: `wasi:http/incoming-handler`, or `wasi:http/handler` of WASI 0.3, with bodies that stream in
//! both directions.
//!
//! A short answer is complete when the guest returns: no task, no channel hop, the length is known. An answer that
//! begins before the guest has ended goes out as it comes, and the guest runs on in a task that its body owns.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Full};
use mayfly_invoker_api::{Body, InvokeError, InvokeErrorKind};
use tokio::sync::oneshot;
use tokio::task::coop::{has_budget_remaining, unconstrained};
use tokio_util::task::AbortOnDropHandle;
use wasmtime::Store;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p3::Request as PreviewRequest;
use wasmtime_wasi_http::p3::bindings::Service;
use wasmtime_wasi_http::{Error as HttpError, WasiHttpView};

use crate::call::Call;
use crate::code::{Code, Reuse};
use crate::instance::{Guest, Instance, InstanceLease, blame};
use crate::state::State;

type Head = Result<Response<HyperOutgoingBody>, ErrorCode>;

/// Gives `request` to the guest and returns its response as soon as it has one.
pub(crate) async fn serve(
    instance: Instance,
    call: &Call,
    request: Request<Body>,
) -> Result<Response<Body>, InvokeError> {
    let (early_sender, mut early) = oneshot::channel();
    let on_trial = instance.on_trial();
    let mut guest = Box::pin(run_guest(instance, call.clone(), request, early_sender));
    let ended = tokio::select! {
        // The guest first: most have answered and ended by the time it gives way.
        biased;
        ended = &mut guest => ended?,
        head = &mut early => match head {
            Ok(head) => {
                let response = response_of(Some(head))?;
                return Ok(streaming(Arc::clone(&call.lease), guest, on_trial, response));
            }
            // It has ended on another thread, or is about to.
            Err(_closed) => guest.await?,
        },
    };
    let (instance, head) = ended;
    let response = response_of(head.or_else(|| early.try_recv().ok()))?;
    finished(&call.lease, instance, response).await
}

/// Runs the guest to its end, whatever becomes of its answer. Gives the instance back if that was a good end, with the head
/// of its answer, if that was not given to `early` before. It is given there when the guest gives way: a guest on another
/// thread that answers and then fails in one go has not answered.
async fn run_guest(
    mut instance: Instance,
    call: Call,
    request: Request<Body>,
    early: oneshot::Sender<Head>,
) -> Result<(Instance, Option<Head>), InvokeError> {
    instance.begin(&call);
    let (sender, mut head) = oneshot::channel();
    // Boxed, because it is large and would be moved into each of the futures around it.
    let mut work = Box::pin(async move {
        let called = call_handle(&mut instance, request, sender).await;
        (instance, called)
    });
    let mut early = Some(early);
    let slices = poll_fn(move |context| {
        let polled = work.as_mut().poll(context);
        let head = head.try_recv().ok();
        let Poll::Ready((instance, called)) = polled else {
            if let Some(head) = head
                && let Some(early) = early.take()
            {
                // Err means that the client has gone.
                let _ = early.send(head);
            }
            return Poll::Pending;
        };
        Poll::Ready((instance, called, head))
    });
    let (mut instance, called, head) = call.metered(slices).await?;
    let ended = called.map_err(|error| blame(&error, instance.store.data(), &call));
    if !instance.may_pass_on() || ended.is_err() {
        instance.end();
    }
    ended.map(|()| (instance, head))
}

async fn call_handle(
    instance: &mut Instance,
    request: Request<Body>,
    head: oneshot::Sender<Head>,
) -> wasmtime::Result<()> {
    let request = request.map(|body| body.map_err(|error| HttpError::InternalError(Some(error.to_string()))));
    match &instance.guest {
        Guest::Http(proxy) => {
            let mut view = instance.store.data_mut().http();
            let request = view.new_incoming_request(Scheme::Http, request)?;
            let outparam = view.new_response_outparam(head)?;
            proxy
                .wasi_http_incoming_handler()
                .call_handle(&mut *instance.store, request, outparam)
                .await
        }
        // Boxed: few guests are of this sort, and every call would carry the room for them.
        Guest::HttpPreview(service) => Box::pin(call_service(&mut instance.store, service, request, head)).await,
        Guest::Event(_) => Err(wasmtime::Error::msg("the function is not an http function")),
    }
}

/// The same for a guest of WASI 0.3. It has ended when all its tasks have, not when it has returned its response.
async fn call_service<B>(
    store: &mut Store<State>,
    service: &Service,
    request: Request<B>,
    head: oneshot::Sender<Head>,
) -> wasmtime::Result<()>
where
    B: http_body::Body<Data = Bytes, Error = HttpError> + Send + 'static,
{
    // Whether the request's body arrived whole is what its body itself says.
    let (request, _arrived) = PreviewRequest::from_http(store.data_mut().http().hooks, request);
    let handled = store.run_concurrent(async move |accessor| {
        let answer = match service.handle(accessor, request).await? {
            Ok(response) => Ok(accessor.with(|store| response.into_http(store, async { Ok(()) }))?),
            Err(code) => Err(ErrorCode::InternalError(Some(format!("{code:?}")))),
        };
        // Nobody is there to hear it: the client has gone.
        let _ = head.send(answer);
        poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
        Ok(())
    });
    handled.await?
}

fn response_of(head: Option<Head>) -> Result<Response<HyperOutgoingBody>, InvokeError> {
    let bad = |message: String| InvokeError::new(InvokeErrorKind::BadResponse, message);
    match head {
        Some(Ok(response)) => Ok(response),
        Some(Err(code)) => Err(InvokeError::new(
            InvokeErrorKind::Failed,
            format!("the function gave an error instead of a response: {code:?}"),
        )),
        None => Err(bad("the function ended without a response".to_owned())),
    }
}

/// The guest has ended: all that it wrote is here.
async fn finished(
    lease: &Arc<InstanceLease>,
    instance: Instance,
    response: Response<HyperOutgoingBody>,
) -> Result<Response<Body>, InvokeError> {
    let (parts, body) = response.into_parts();
    if instance.may_pass_on() && !body.is_end_stream() {
        // It may come from elsewhere still.
        let body = GuestBody {
            frames: Some(body),
            failed: None,
            guest: None,
            passing_on: Some((instance, Arc::clone(lease))),
        };
        return Ok(Response::from_parts(parts, body.boxed_unsync()));
    }
    // Whatever share of its thread's time this task has had: this is no time to wait.
    let mut collecting = Box::pin(unconstrained(body.collect()));
    let collected = match (&mut collecting).now_or_never() {
        Some(collected) => {
            instance.release(lease);
            Some(collected)
        }
        // It left its body open. With the instance the open end goes too, and what was written is all there is.
        None => {
            instance.gone().await;
            collecting.now_or_never()
        }
    };
    let body = match collected {
        Some(Ok(collected)) if collected.trailers().is_none() => Full::new(collected.to_bytes())
            .map_err(|never| match never {})
            .boxed_unsync(),
        Some(Ok(collected)) => collected.map_err(|never| match never {}).boxed_unsync(),
        // Nothing was sent yet, so this can be said plainly.
        Some(Err(error)) => return Err(unfinished(&error)),
        None => GuestBody {
            frames: None,
            failed: None,
            guest: None,
            passing_on: None,
        }
        .boxed_unsync(),
    };
    Ok(Response::from_parts(parts, body))
}

/// The guest goes on: its body follows as it is written.
fn streaming(
    lease: Arc<InstanceLease>,
    guest: Pin<Box<impl Future<Output = Result<(Instance, Option<Head>), InvokeError>> + Send + 'static>>,
    on_trial: Option<Arc<Code>>,
    response: Response<HyperOutgoingBody>,
) -> Response<Body> {
    // Not detached: the body owns the task, and a client that goes away takes both along.
    let guest = AbortOnDropHandle::new(tokio::spawn(async move {
        match guest.await {
            Ok((instance, _)) if instance.may_pass_on() => Ok(Some((instance, lease))),
            Ok((instance, _)) => {
                instance.release(&lease);
                Ok(None)
            }
            Err(error) => {
                // Its answer had begun, so it cannot be run again; at least nobody else pays for it.
                if let Some(code) = on_trial
                    && Reuse::may_be_to_blame_for(error.kind())
                {
                    code.settle_reuse(Reuse::Never);
                }
                Err(error)
            }
        }
    }));
    response.map(|frames| {
        GuestBody {
            frames: Some(frames),
            failed: None,
            guest: Some(guest),
            passing_on: None,
        }
        .boxed_unsync()
    })
}

fn unfinished(error: &HttpError) -> InvokeError {
    InvokeError::new(
        InvokeErrorKind::BadResponse,
        format!("the function did not finish its response: {error:?}"),
    )
}

/// A response body that ends when its guest has ended, and as its guest has ended.
struct GuestBody {
    frames: Option<HyperOutgoingBody>,
    failed: Option<InvokeError>,
    guest: Option<AbortOnDropHandle<Result<Option<PassingOn>, InvokeError>>>,
    /// What has to stay until the last frame has come.
    passing_on: Option<PassingOn>,
}

/// An instance whose guest has ended and may have left the rest to the host.
type PassingOn = (Instance, Arc<InstanceLease>);

impl GuestBody {
    /// Waits for the guest's end, if it is not known yet. How it has ended counts more than what became of its body.
    fn poll_guest(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(guest) = &mut self.guest else {
            return Poll::Ready(());
        };
        let ended = ready!(Pin::new(guest).poll(context));
        self.guest = None;
        match ended {
            Ok(Ok(passing_on)) => self.passing_on = passing_on,
            Ok(Err(error)) => self.failed = Some(error),
            Err(panicked) => {
                tracing::error!(%panicked, "the task of a streaming guest failed");
                let message = "the platform failed while the response was streaming";
                self.failed = Some(InvokeError::new(InvokeErrorKind::Internal, message));
            }
        }
        Poll::Ready(())
    }
}

impl http_body::Body for GuestBody {
    type Data = Bytes;
    type Error = InvokeError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, InvokeError>>> {
        while let Some(frames) = &mut self.frames {
            match Pin::new(frames).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Some(Ok(frame))),
                Poll::Ready(Some(Err(error))) => self.failed = Some(unfinished(&error)),
                Poll::Ready(None) => {}
                // There may be more: this task has had its share and is to be polled again.
                Poll::Pending if !has_budget_remaining() => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending if self.guest.is_some() => {
                    ready!(self.poll_guest(context));
                    // It may have written before it ended.
                    continue;
                }
                Poll::Pending if self.passing_on.is_some() => return Poll::Pending,
                // Left open by a guest whose instance goes on to serve others: what was written is all there is.
                Poll::Pending => {}
            }
            self.frames = None;
        }
        ready!(self.poll_guest(context));
        if let Some((mut instance, lease)) = self.passing_on.take() {
            instance.end();
            instance.release(&lease);
        }
        Poll::Ready(self.failed.take().map(Err))
    }
}
