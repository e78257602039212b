"""The indexer on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import grpc

from chassis.batcher import Batcher
from chassis.errors import AlreadyExists, FailedPrecondition, InvalidRequest, NotFound, TriviumError
from chassis.runtime import Runtime
from chassis.validation import require_between
from services.retriever.collection import DEFAULT_NAME, NAME, NAME_RULE, CorruptPointer
from services.retriever.encoder import Encoded, Text
from services.retriever.index_kind import InvalidIndexKind, TooFewPassages
from services.retriever.indexer.concurrency import map_as_finished
from services.retriever.indexer.config import IndexerConfig
from services.retriever.indexer.disk import disk_errors
from services.retriever.indexer.encoded import Brought
from services.retriever.indexer.intake import MAX_CHARACTERS, Rejected, require_valid
from services.retriever.indexer.library import Library, NoSuchCollection
from services.retriever.indexer.listing import list_blocking
from services.retriever.indexer.publisher import Recipe
from services.retriever.indexer.splitter import Document, Splitter
from services.retriever.indexer.store import Kept, Store
from services.retriever.indexer.versions import NoSuchVersion, Retention, VersionIsPublished
from services.retriever.indexer.wire import (
    MAX_DELETED_DOCUMENTS,
    NUMBER_BY_OUTCOME,
    document_blocking,
    encoded_blocking,
    read_analyzer,
    read_brought,
    read_chosen,
    read_kind,
    write_advice,
    write_collection,
    write_rejection,
    write_verification,
    write_version,
)
from services.retriever.indexer.writer import CollectionWriter, MadeByAnother, NothingStored, WriterClosed
from services.retriever.loader import load_encoder
from services.retriever.manifest import CorruptVersion
from services.retriever.wire import field_at_fault, read_fields
from trivium.v1 import indexer_pb2, indexer_pb2_grpc

logger = logging.getLogger(__name__)

MAX_INDEX_VERSION = 2**63 - 1
MAX_PAGE_SIZE = 1_000
DEFAULT_PAGE_SIZE = 100
MAX_STREAM_CHARACTERS = 2 * MAX_CHARACTERS
"""Characters of one stream's documents that are worked on at once. Bounds memory."""
MIN_DOCUMENT_WEIGHT = 16_384
"""A document counts as at least so many characters: bounds how many small ones are worked on at once."""


@dataclass(frozen=True)
class _Arrival:
    """A document of a stream, and the collection that the stream goes to."""

    writer: CollectionWriter
    document: Document
    brought: Brought | None = None

    @property
    def weight(self) -> int:
        """Its characters, or what counts as such: a value of a vector takes as much as a character may."""
        num_values = len(self.brought.vectors) // 4 if self.brought else 0
        return max(MIN_DOCUMENT_WEIGHT, self.document.num_characters + num_values)


class IndexerService(indexer_pb2_grpc.IndexerServiceServicer):
    """Writes all collections of one directory."""

    full_name = "trivium.v1.IndexerService"

    def __init__(self, config: IndexerConfig, runtime: Runtime) -> None:
        self._config = config
        self._runtime = runtime
        self._library: Library | None = None
        self._batcher: Batcher[Text, Encoded] | None = None
        self._store: Store | None = None
        self._recipe: Recipe | None = None

    def register(self, server: grpc.aio.Server) -> None:
        indexer_pb2_grpc.add_IndexerServiceServicer_to_server(self, server)

    async def start(self) -> None:
        """Raises ConfigError: no such encoder, another writer, or a collection that cannot be read."""
        encoder = await load_encoder(self._config, self._runtime, "passage")
        max_tokens = min(self._config.max_passage_tokens, encoder.max_text_tokens)
        splitter = Splitter(encoder.token_ends(), max_tokens)
        recipe = Recipe(encoder.fingerprint, splitter.fingerprint, encoder.dimension)
        retention = Retention(self._config.retained_versions, timedelta(seconds=self._config.retained_for_s))
        self._library = await asyncio.to_thread(Library, self._config.collections_path, recipe, retention)
        self._batcher = self._runtime.batcher(encoder)
        self._batcher.start()
        self._recipe = recipe
        max_encoding = self._config.max_queue_entries // 2
        self._store = Store(splitter, self._batcher, max_encoding, encoder.dimension, encoder.max_text_tokens)

    async def stop(self) -> None:
        if self._batcher:
            await self._batcher.close()
        if self._store:
            self._store.close()
        if self._library:
            await self._library.close()

    async def CreateCollection(
        self,
        request: indexer_pb2.CreateCollectionRequest,
        context: grpc.aio.ServicerContext[indexer_pb2.CreateCollectionRequest, indexer_pb2.CreateCollectionResponse],
    ) -> indexer_pb2.CreateCollectionResponse:
        _require_name("name", request.name)
        analyzer = read_analyzer(request.analyzer)
        assert self._library is not None
        kind = read_kind(request.index, self._library.dimension)
        with field_at_fault():
            fields = read_fields(request.fields)
        with disk_errors():
            writer = await self._library.create(request.name, analyzer, fields, kind)
        is_same_kind = writer.settings.kind == kind or not request.HasField("index")
        if (writer.settings.analyzer, writer.settings.fields) != (analyzer, fields) or not is_same_kind:
            raise AlreadyExists("collection", request.name)
        return indexer_pb2.CreateCollectionResponse(collection=write_collection(writer))

    async def GetCollection(
        self,
        request: indexer_pb2.GetCollectionRequest,
        context: grpc.aio.ServicerContext[indexer_pb2.GetCollectionRequest, indexer_pb2.GetCollectionResponse],
    ) -> indexer_pb2.GetCollectionResponse:
        writer = self._writer("name", request.name)
        assert self._recipe is not None
        return indexer_pb2.GetCollectionResponse(
            collection=write_collection(writer),
            made_by=writer.made_by,
            fingerprint=self._recipe.fingerprint,
            dimension=self._recipe.dimension,
        )

    async def ListCollections(
        self,
        request: indexer_pb2.ListCollectionsRequest,
        context: grpc.aio.ServicerContext[indexer_pb2.ListCollectionsRequest, indexer_pb2.ListCollectionsResponse],
    ) -> indexer_pb2.ListCollectionsResponse:
        page_size = request.page_size if request.HasField("page_size") else DEFAULT_PAGE_SIZE
        require_between("page_size", page_size, 1, MAX_PAGE_SIZE)
        if request.page_token and not NAME.fullmatch(request.page_token):
            raise InvalidRequest("page_token", "not one that this service gave")
        assert self._library is not None
        names = [name for name in self._library.names() if name > request.page_token]
        page = names[:page_size]
        return indexer_pb2.ListCollectionsResponse(
            collections=[write_collection(self._writer("page_token", name)) for name in page],
            next_page_token=page[-1] if len(names) > page_size else "",
        )

    async def DeleteCollection(
        self,
        request: indexer_pb2.DeleteCollectionRequest,
        context: grpc.aio.ServicerContext[indexer_pb2.DeleteCollectionRequest, indexer_pb2.DeleteCollectionResponse],
    ) -> indexer_pb2.DeleteCollectionResponse:
        _require_name("name", request.name)
        assert self._library is not None
        with _writing(request.name):
            await self._library.delete(request.name)
        return indexer_pb2.DeleteCollectionResponse()

    async def ListDocuments(
        self,
        request: indexer_pb2.ListDocumentsRequest,
        context: grpc.aio.ServicerContext[indexer_pb2.ListDocumentsRequest, indexer_pb2.ListDocumentsResponse],
    ) -> AsyncIterator[indexer_pb2.ListDocumentsResponse]:
        writer = self._writer("collection", request.collection)
        for listed in await asyncio.to_thread(list_blocking, writer.all_stored(), writer.is_made_here):
            yield indexer_pb2.ListDocumentsResponse(document_id=listed.document_id, content_hash=listed.content_hash)

    async def UpsertDocuments(
        self,
        request_iterator: AsyncIterator[indexer_pb2.UpsertDocumentsRequest],
        context: grpc.aio.ServicerContext[indexer_pb2.UpsertDocumentsRequest, indexer_pb2.UpsertDocumentsResponse],
    ) -> AsyncIterator[indexer_pb2.UpsertDocumentsResponse]:
        responses = map_as_finished(
            self._acknowledge, self._arrivals(request_iterator), lambda arrival: arrival.weight, MAX_STREAM_CHARACTERS
        )
        async with contextlib.aclosing(responses):
            async for response in responses:
                yield response

    async def PublishVersion(
        self,
        request: indexer_pb2.PublishVersionRequest,
        context: grpc.aio.ServicerContext[indexer_pb2.PublishVersionRequest, indexer_pb2.PublishVersionResponse],
    ) -> indexer_pb2.PublishVersionResponse:
        writer = self._writer("collection", request.collection)
        with _writing(writer.collection.name):
            published = await writer.publish()
        return indexer_pb2.PublishVersionResponse(
            index_version=published.index_version,
            num_documents=published.num_documents,
            num_passages=published.num_passages,
        )

    async def DeleteDocuments(
        self,
        request: indexer_pb2.DeleteDocumentsRequest,
        context: grpc.aio.ServicerContext[indexer_pb2.DeleteDocumentsRequest, indexer_pb2.DeleteDocumentsResponse],
    ) -> indexer_pb2.DeleteDocumentsResponse:
        writer = self._writer("collection", request.collection)
        wanted = read_chosen(request, writer.settings.fields)
        absent_from = 0
        with _writing(writer.collection.name):
            if wanted:
                deleted = concerned = await writer.delete_chosen(wanted)
            else:
                concerned = list(request.document_ids)
                deleted = await writer.delete(concerned)
            if request.publish or request.purge:
                with suppress(NothingStored):  # there never was a version
                    absent_from = (await writer.publish()).index_version
            if request.purge:
                await writer.purge(concerned)
            held_by = await writer.versions_holding(concerned)
        return indexer_pb2.DeleteDocumentsResponse(
            deleted_document_ids=deleted[:MAX_DELETED_DOCUMENTS],
            num_deleted_documents=len(deleted),
            absent_from_version=absent_from,
            held_by_versions=held_by,
        )

    async def ListVersions(
        self,
        request: indexer_pb2.ListVersionsRequest,
        context: grpc.aio.ServicerContext[indexer_pb2.ListVersionsRequest, indexer_pb2.ListVersionsResponse],
    ) -> indexer_pb2.ListVersionsResponse:
        writer = self._writer("collection", request.collection)
        kept = await writer.versions()
        return indexer_pb2.ListVersionsResponse(
            versions=[write_version(one, writer.published) for one in reversed(kept)]
        )

    async def RollbackVersion(
        self,
        request: indexer_pb2.RollbackVersionRequest,
        context: grpc.aio.ServicerContext[indexer_pb2.RollbackVersionRequest, indexer_pb2.RollbackVersionResponse],
    ) -> indexer_pb2.RollbackVersionResponse:
        writer = self._writer("collection", request.collection)
        with _writing(writer.collection.name):
            published = await writer.roll_back(_version_number(request.index_version))
        return indexer_pb2.RollbackVersionResponse(version=write_version(published, writer.published))

    async def DeleteVersion(
        self,
        request: indexer_pb2.DeleteVersionRequest,
        context: grpc.aio.ServicerContext[indexer_pb2.DeleteVersionRequest, indexer_pb2.DeleteVersionResponse],
    ) -> indexer_pb2.DeleteVersionResponse:
        writer = self._writer("collection", request.collection)
        with _writing(writer.collection.name):
            await writer.delete_versions([_version_number(request.index_version)])
        return indexer_pb2.DeleteVersionResponse()

    async def VerifyCollection(
        self,
        request: indexer_pb2.VerifyCollectionRequest,
        context: grpc.aio.ServicerContext[indexer_pb2.VerifyCollectionRequest, indexer_pb2.VerifyCollectionResponse],
    ) -> indexer_pb2.VerifyCollectionResponse:
        writer = self._writer("collection", request.collection)
        with _writing(writer.collection.name):
            found = await writer.verify()
        return write_verification(found, writer.published)

    async def AdviseIndex(
        self,
        request: indexer_pb2.AdviseIndexRequest,
        context: grpc.aio.ServicerContext[indexer_pb2.AdviseIndexRequest, indexer_pb2.AdviseIndexResponse],
    ) -> indexer_pb2.AdviseIndexResponse:
        writer = self._writer("collection", request.collection)
        with _writing(writer.collection.name):
            return write_advice(await writer.advise())

    async def _arrivals(self, requests: AsyncIterator[indexer_pb2.UpsertDocumentsRequest]) -> AsyncIterator[_Arrival]:
        writer: CollectionWriter | None = None
        numbers = itertools.count()
        async for request in requests:
            if writer is None:
                writer = self._writer("collection", request.collection)
            elif request.collection not in ("", writer.collection.name):
                raise InvalidRequest("collection", "one stream goes to one collection, the first request's")
            if request.HasField("encoded"):
                _require_encoded_for(writer, request)
                document = await asyncio.to_thread(encoded_blocking, request.encoded)
                yield _Arrival(writer, document, read_brought(request, next(numbers)))
            elif request.check_only:
                raise InvalidRequest("check_only", "only with `encoded`")
            else:
                yield _Arrival(writer, await asyncio.to_thread(document_blocking, request.document))

    async def _acknowledge(self, arrival: _Arrival) -> indexer_pb2.UpsertDocumentsResponse:
        """One response for one document. Raises what concerns the whole stream."""
        assert self._store is not None
        document_id = arrival.document.document_id
        try:
            kept = await self._keep(self._store, arrival)
        except WriterClosed:
            raise NotFound("collection", arrival.writer.collection.name) from None
        except Rejected as rejected:
            return write_rejection(document_id, rejected.field, rejected.description)
        except TriviumError:
            raise
        except Exception:  # one document that the model chokes on must not end the stream
            logger.exception("a document could not be stored")
            return write_rejection(document_id, "", "could not be processed; the indexer's log has the reason")
        return indexer_pb2.UpsertDocumentsResponse(
            document_id=document_id,
            outcome=NUMBER_BY_OUTCOME[kept.outcome],
            num_passages=kept.num_passages,
            num_long_passages=kept.num_long_passages,
        )

    async def _keep(self, store: Store, arrival: _Arrival) -> Kept:
        with disk_errors():
            if arrival.brought:
                return await store.keep(arrival.writer, arrival.document, arrival.brought)
            require_valid(arrival.document, arrival.writer.settings.fields)
            return Kept(*await store.put(arrival.writer, arrival.document))

    def _writer(self, field: str, name: str) -> CollectionWriter:
        name = name or DEFAULT_NAME
        _require_name(field, name)
        assert self._library is not None
        writer = self._library.writer(name)
        if writer is None:
            raise NotFound("collection", name)
        return writer


@contextmanager
def _writing(name: str) -> Iterator[None]:
    """What the collection's writer refuses, as a caller gets it."""
    try:
        with disk_errors():
            yield
    except (NoSuchCollection, WriterClosed):
        raise NotFound("collection", name) from None
    except NothingStored:
        raise FailedPrecondition("NOTHING_STORED", "the collection holds no document yet") from None
    except MadeByAnother as error:
        raise FailedPrecondition("ENCODER_MISMATCH", str(error)) from None
    except TooFewPassages as error:
        raise FailedPrecondition(
            "TOO_FEW_PASSAGES", str(error), needed=str(error.needed), found=str(error.found), factory=error.factory
        ) from None
    except InvalidIndexKind as error:
        raise FailedPrecondition("INDEX_UNSUITED", str(error)) from None
    except NoSuchVersion as error:
        raise NotFound("version", str(error)) from None
    except VersionIsPublished:
        raise FailedPrecondition("VERSION_PUBLISHED", "retrievers follow this version") from None
    except (CorruptVersion, CorruptPointer) as error:
        logger.error("a version is damaged", extra={"reason": str(error)})
        raise FailedPrecondition("INDEX_CORRUPT", "a version failed verification; the log names the file") from None


def _version_number(index_version: int) -> int:
    require_between("index_version", index_version, 1, MAX_INDEX_VERSION)
    return index_version


def _require_name(field: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise InvalidRequest(field, NAME_RULE)


def _require_encoded_for(writer: CollectionWriter, request: indexer_pb2.UpsertDocumentsRequest) -> None:
    if request.HasField("document"):
        raise InvalidRequest("encoded", "either this or `document`, not both")
    if request.encoded.made_by not in ("", writer.made_by):
        raise FailedPrecondition(
            "ENCODER_MISMATCH",
            f"encoded.made_by is not {writer.made_by}: another encoder or splitter made it, or other settings;"
            " GetCollection tells this indexer's",
        )
